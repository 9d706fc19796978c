"""The transforms that turn a user's tape into one that a device executes, in order.

Almost all of them are PennyLane's; ours are in :mod:`preparation`, :mod:`records` and
:mod:`acceptance`.
"""

from __future__ import annotations

import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import (
    decompose,
    device_resolve_dynamic_wires,
    no_sampling,
    validate_device_wires,
    validate_measurements,
)
from pennylane.transforms.core import CompilePipeline
from pennylane.wires import Wires

from qstore_pl.devices.acceptance import (
    accepted_analytic,
    accepted_sampled,
    expand_shadows,
    runs_mixed,
    runs_noisy,
    runs_whole,
    runs_whole_or_measures,
)
from qstore_pl.devices.aside import transform_aside
from qstore_pl.devices.deferring import defer_shots, find_records, mark_records
from qstore_pl.devices.noise import NoiseSpec
from qstore_pl.devices.preparation import finish, tidy
from qstore_pl.devices.registry import REGISTRY

DEVICE_GRADIENTS = ("adjoint", "backprop")

_TIDY, _FINISH = transform_aside(tidy), transform_aside(finish)
_DEFER = transform_aside(qml.defer_measurements)
_DECOMPOSE = transform_aside(decompose)
_FIND_RECORDS = transform_aside(find_records)
_ADD_NOISE = transform_aside(qml.noise.add_noise)


def pure_pipeline(
    config: ExecutionConfig, wires: Wires | None, name: str
) -> CompilePipeline:
    """The transforms for pure states, which keep the templates in the registry whole.

    Args:
        config: The configuration, as the device resolved it.
        wires: Wires of the device; None takes those of each circuit.
        name: Name of the device, for messages.
    """
    deferred = config.mcm_config.mcm_method != "one-shot"
    pipeline = CompilePipeline()
    pipeline.add_transform(_TIDY, keep=config.gradient_method == "adjoint")
    if deferred:
        pipeline.add_transform(_DEFER, allow_postselect=True, num_wires=None)
    gates = {
        "stopping_condition": runs_whole if deferred else runs_whole_or_measures,
        "skip_initial_state_prep": True,
        "device_wires": wires,
        "target_gates": set(REGISTRY),
        "name": name,
    }
    pipeline.add_transform(_DECOMPOSE, **gates)
    _check(pipeline, wires, name, allow_resets=not deferred)
    if not deferred:
        mode = config.mcm_config.postselect_mode
        pipeline.add_transform(defer_shots, mode=mode)
        pipeline.add_transform(_DECOMPOSE, **gates)
    pipeline.add_transform(expand_shadows)
    if not deferred:
        pipeline.add_transform(qml.dynamic_one_shot, postselect_mode=mode)
    if config.gradient_method in DEVICE_GRADIENTS:
        pipeline.add_transform(no_sampling, name=f"adjoint + {name}")
    pipeline.add_transform(_FINISH)
    return pipeline


def noisy_pipeline(
    config: ExecutionConfig,
    wires: Wires | None,
    name: str,
    spec: NoiseSpec,
    model: qml.NoiseModel | None,
) -> CompilePipeline:
    """The transforms for mixed states, which decompose templates into noisy gates.

    Args:
        config: The configuration, as the device resolved it.
        wires: Wires of the device; None takes those of each circuit.
        name: Name of the device, for messages.
        spec: The noise of the device.
        model: A noise model for PennyLane to insert, or None.
    """
    noisy = spec.has_gate_noise or model is not None
    gates = {
        "stopping_condition": runs_noisy if noisy else runs_mixed,
        "skip_initial_state_prep": True,
        "device_wires": wires,
        "target_gates": {name for name, entry in REGISTRY.items() if not entry.parts},
        "name": name,
    }
    pipeline = CompilePipeline()
    pipeline.add_transform(_TIDY, keep=config.gradient_method == "adjoint")
    pipeline.add_transform(
        mark_records,
        noisy=noisy or spec.has_readout_error,
        follows_gates=spec.has_gate_noise,
    )
    pipeline.add_transform(_DEFER, allow_postselect=True, num_wires=None)
    pipeline.add_transform(_FIND_RECORDS)
    pipeline.add_transform(_DECOMPOSE, **gates)
    _check(pipeline, wires, name, allow_resets=False)
    if model is not None:
        pipeline.add_transform(_ADD_NOISE, noise_model=model, level="device")
        pipeline.add_transform(_DECOMPOSE, **gates)
    pipeline.add_transform(expand_shadows)
    if config.gradient_method in DEVICE_GRADIENTS:
        pipeline.add_transform(no_sampling, name=f"adjoint + {name}")
    pipeline.add_transform(_FINISH, over_rotated=bool(spec.over_rotation))
    return pipeline


def _check(
    pipeline: CompilePipeline, wires: Wires | None, name: str, *, allow_resets: bool
) -> None:
    """Add the transforms that choose dynamic wires and check wires and measurements.

    Args:
        pipeline: The transforms, which are added to.
        wires: Wires of the device; None takes those of each circuit.
        name: Name of the device, for messages.
        allow_resets: Whether a dynamic wire may be reset to be used again.
    """
    pipeline.add_transform(
        device_resolve_dynamic_wires, wires=wires, allow_resets=allow_resets
    )
    pipeline.add_transform(validate_device_wires, wires, name=name)
    pipeline.add_transform(
        validate_measurements,
        analytic_measurements=accepted_analytic,
        sample_measurements=accepted_sampled,
        name=name,
    )
