"""What the dashboard of a cluster in this process knows."""

from daskmgrit.dashboard.page import history_of

STEPS = 100


def runs(cluster):
    return list(history_of(cluster.scheduler).runs)


def plugins(cluster):
    return [name for name in cluster.scheduler.plugins if name.startswith("daskmgrit")]


def warnings_of(caplog):
    return [record.message for record in caplog.records if "the page /mgrit" in record.message]
