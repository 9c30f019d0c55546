"""``python -m daskmgrit``, for where the command itself is not on the path."""

from daskmgrit.cli.entry import main

if __name__ == "__main__":
    main()
