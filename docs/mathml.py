"""Formulas as MathML, which browsers draw themselves: no script, and no network."""

from docutils import nodes
from latex2mathml.converter import convert


def inline(writer, node):
    """A formula in a line of text."""
    writer.body.append(f"<span class='math'>{convert(node.astext())}</span>")
    raise nodes.SkipNode


def block(writer, node):
    """A formula of its own lines."""
    formula = convert(node.astext(), display="block")
    writer.body.append(f"<div class='math' style='overflow-x: auto'>{formula}</div>")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
