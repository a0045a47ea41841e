"""What the gateway is made of while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tmws_gateway.audit.log import AuditLog
from tmws_gateway.audit.retention import Retention
from tmws_gateway.audit_service import AuditService
from tmws_gateway.connections import Connections
from tmws_gateway.edge import Edge
from tmws_gateway.feed.feed import Feed
from tmws_gateway.gateways import Gateways
from tmws_gateway.health import SystemHealth
from tmws_gateway.openapi import OpenApi
from tmws_gateway.sign_in import SignIn
from tmws_gateway.traffic import Traffic
from tmws_shared.http import ServiceClient


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a route of the gateway's own needs."""

    sign_in: SignIn
    audit: AuditService
    audit_log: AuditLog
    retention: Retention
    health: SystemHealth
    openapi: OpenApi
    traffic: Traffic
    clients: Mapping[str, ServiceClient]
    edge: Edge
    feed: Feed
    gateways: Gateways
    connections: Connections
