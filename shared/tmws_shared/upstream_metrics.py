"""What Prometheus is told of the services that this process asks; counted when it asks, not with each request."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmws_shared.pool import Pool
from tmws_shared.replica import State
from tmws_shared.upstream import running


class UpstreamCollector(Collector):
    """Connections by what they do, replicas by how they are, and whether a circuit is open."""

    def collect(self) -> Iterator[Metric]:
        """Count; several clients of one service are counted together."""
        connections = GaugeMetricFamily(
            "tmws_upstream_connections", "Connections to a service; waiting: requests without one", labels=_STATES
        )
        replicas = GaugeMetricFamily("tmws_upstream_replicas", "Processes of a service by their state", labels=_STATES)
        is_open = GaugeMetricFamily(
            "tmws_upstream_circuit_open", "1 while no process of the service works", labels=["upstream"]
        )
        for name in sorted({upstream.name for upstream in running}):
            clients = [upstream for upstream in running if upstream.name == name]
            pools = [pool for each in clients for replica in each.replicas for pool in (replica.ordinary, replica.long)]
            for state, count in _count_connections(pools).items():
                connections.add_metric([name, state], count)
            states = [replica.state for each in clients[:1] for replica in each.replicas]
            for state in State:
                replicas.add_metric([name, state], states.count(state))
            is_open.add_metric([name], float(any(each.is_open for each in clients)))
        yield from (connections, replicas, is_open)


_STATES = ["upstream", "state"]


def _count_connections(pools: list[Pool]) -> dict[str, int]:
    waiting = sum(pool.waiting for pool in pools)
    return {
        "busy": sum(pool.busy for pool in pools) - waiting,
        "idle": sum(pool.idle for pool in pools),
        "waiting": waiting,
    }


def register() -> None:
    """Tell Prometheus from now on."""
    REGISTRY.register(UpstreamCollector())
