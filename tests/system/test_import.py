"""What happens at import, in a fresh interpreter."""

import json


def test_nothing_happens_at_import():
    import subprocess
    import sys

    code = (
        "import sys, logging, json, daskmgrit;"
        "print(json.dumps([name in sys.modules for name in ('distributed', 'matplotlib', 'sklearn')]"
        " + [len(logging.getLogger().handlers)]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(out.stdout) == [False, False, False, 0]
