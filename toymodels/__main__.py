"""``python -m toymodels``: the command line."""

from toymodels.cli import app

if __name__ == "__main__":
    app(prog_name="toymodels")
