"""``python -m daskmgrit``, if the command itself is not on the path."""

from daskmgrit.cli.entry import main

if __name__ == "__main__":
    try:
        main()
    finally:
        # Python keeps in mind a Ctrl-C that came while a string was run, as imports of dataclasses do. What -m started
        # would then end by the signal, not with the status. The next string clears that.
        exec("")
