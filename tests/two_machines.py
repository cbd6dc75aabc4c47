"""Ray on two machines, which are processes of this one with a CPU each: for tests."""

import os
from contextlib import contextmanager

MEMORY = 80 * 2**20  # of results


@contextmanager
def two_machines():
    """The cluster, and the second machine, which `lose` of the first kills. RAY_ADDRESS is set."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    first = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=first)
    try:
        os.environ["RAY_ADDRESS"] = cluster.address
        yield cluster, cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        cluster.shutdown()


def lose(cluster, machine):
    """Kills its raylet, as a machine that loses its power ends."""
    cluster.remove_node(machine, allow_graceful=False)
