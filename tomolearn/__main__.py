"""Run the command line: ``python -m tomolearn``."""

from tomolearn.cli import main

if __name__ == "__main__":
    main()
