"""``python -m qstore_pl`` is the console command ``qstore``."""

from qstore_pl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
