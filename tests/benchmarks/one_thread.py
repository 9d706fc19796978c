"""One thread for everybody: import it before anything that reads these variables."""

import os

for library in ("OMP", "OPENBLAS", "MKL", "QSTORE", "RAYON"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["OMP_PROC_BIND"] = "false"  # Kokkos warns where it is not set
