"""The lines that a command prints of a result."""

from types import SimpleNamespace

import numpy as np
import pytest

from daskmgrit.cli.report import tell


@pytest.mark.parametrize(
    ("serial", "words"),
    [(2.0, "2 times faster"), (0.4, "2.5 times slower"), (0.01, "100 times slower"), (0.008, "125 times slower")],
)
def test_the_comparison_with_serial_training_is_a_plain_number(capsys, serial, words):
    # Final weights that are not finite have no metrics, of which a problem would be asked.
    result = SimpleNamespace(
        final=np.array([np.nan]),
        weights=None,
        iterations=1,
        timings={"cycles": [1.0], "total": 1.0},
        summary=lambda words: [],
    )
    job = SimpleNamespace(name="xor", problem=SimpleNamespace(remark=""))
    tell(job, result, {"max_error": 0.0, "serial_seconds": serial}, as_json=False)
    assert capsys.readouterr().out.endswith(f"this solve was {words}\n")
