"""Progress within a notebook, and without Jupyter."""

import xml.etree.ElementTree as ET

from tests.support.optional import need

nbformat = need("nbformat", "notebook")


def test_progress_in_a_notebook(execute):
    sources = [
        """
import numpy as np, daskmgrit as dm
solver = dm.MGRIT(lambda weights, index, level: weights * 0.9 ** (2**level) + 0.01 * np.sin(weights), 100)
def fails(cycle, residual, weights):
    if cycle == 2:
        raise KeyError
""",
        "result = solver.solve(np.ones(2), progress=True)",
        """
try:
    solver.solve(np.ones(2), progress=True, callback=fails)
except KeyError:
    pass
""",
        """
from distributed import Client, LocalCluster
async with LocalCluster(
    n_workers=1, processes=False, dashboard_address="127.0.0.1:0", asynchronous=True
) as cluster, Client(cluster, asynchronous=True):
    again = await solver.solve(np.ones(2), progress=True)
    assert again.residuals == result.residuals
""",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    execute(notebook)
    _, finished, failed, awaited = (cell.outputs for cell in notebook.cells)
    for outputs in (finished, failed, awaited):
        # One table, and no bar that never ends.
        (output,) = outputs
        shown = output["data"]["text/html"]
        assert "<progress" not in shown
        cycles = [row[0].text for row in ET.fromstring(shown).iter("tr")][1:]
        assert len(cycles) == 3 if outputs is failed else len(cycles) > 3
        assert cycles == [str(cycle) for cycle in range(len(cycles))]
        assert output["data"]["text/plain"].splitlines()[1].split()[0] == "0"
    assert finished[0]["data"]["text/plain"].split("s")[0] == awaited[0]["data"]["text/plain"].split("s")[0]
