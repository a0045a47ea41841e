"""The configurations of the proxies that `gateway_peers.py` measures, and the gateway one usually writes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

SECRET = "0123456789abcdef0123456789abcdef"
NGINX = """daemon off; {user} worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; default_type application/json;
  client_body_temp_path {folder}/{name}1; proxy_temp_path {folder}/{name}2; fastcgi_temp_path {folder}/{name}3;
  uwsgi_temp_path {folder}/{name}4; scgi_temp_path {folder}/{name}5;
  {rules}
}}
"""
NGINX_BACKEND = """server {{ listen unix:{socket}; add_header ETag '"1"'; location / {{ return 200 '{body}'; }} }}"""
NGINX_PROXY = """limit_req_zone $http_authorization zone=z:1m rate=1000000r/s;
  upstream b {{ server unix:{socket}; keepalive 128; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; limit_req zone=z burst=100000 nodelay;
    location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}"""
HAPROXY = """global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  stick-table type ip size 10k expire 10s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000 }}
  http-request set-var(txn.tok) http_auth_bearer
  http-request deny deny_status 401 unless {{ var(txn.tok),jwt_verify("HS256","{secret}") 1 }}
  default_backend b
backend b
  server s1 unix@{socket}
"""
FASTAPI = """
import os
from contextlib import asynccontextmanager
import httpx2
import redis.asyncio
from fastapi import FastAPI, HTTPException, Request, Response
from joserfc import jwt
from joserfc.jwk import OctKey

key = OctKey.import_key(os.environ["SECRET"])
claims = jwt.JWTClaimsRegistry(exp={"essential": True})

@asynccontextmanager
async def lifespan(app):
    app.state.redis = redis.asyncio.from_url(os.environ["REDIS"])
    transport = httpx2.AsyncHTTPTransport(uds=os.environ["BACKEND"])
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as app.state.client:
        yield

app = FastAPI(lifespan=lifespan)

@app.get("/{path:path}")
async def proxy(path: str, request: Request) -> Response:
    token = jwt.decode(request.headers["authorization"].removeprefix("Bearer "), key, algorithms=["HS256"])
    claims.validate(token.claims)
    if await request.app.state.redis.incr("limit") > 1_000_000_000:
        raise HTTPException(429)
    await request.app.state.redis.xadd("audit", {"sub": token.claims["sub"], "path": path}, maxlen=10_000)
    answer = await request.app.state.client.get("/" + path)
    return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])
"""


def envoy_configuration(port: int, socket_path: str) -> str:
    """Return Envoy's configuration: verified tokens are cached, the limit is its own."""
    http = "type.googleapis.com/envoy.extensions.filters.http"
    whole = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    keys = {"keys": [{"kty": "oct", "alg": "HS256", "kid": "k", "k": _base64(SECRET.encode())}]}
    provider = {
        "issuer": "bench", "audiences": ["bench"], "forward": False, "jwt_cache_config": {"jwt_cache_size": 500},
        "local_jwks": {"inline_string": json.dumps(keys)},
    }  # fmt: skip
    filters = [
        {"name": "envoy.filters.http.jwt_authn", "typed_config": {
            "@type": f"{http}.jwt_authn.v3.JwtAuthentication", "providers": {"b": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "b"}}]}},
        {"name": "envoy.filters.http.local_ratelimit", "typed_config": {
            "@type": f"{http}.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "rl",
            "token_bucket": {"max_tokens": 10_000_000, "tokens_per_fill": 10_000_000, "fill_interval": "1s"},
            "filter_enabled": whole, "filter_enforced": whole}},
        {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{http}.router.v3.Router"}},
    ]  # fmt: skip
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "b"}}]
    connections = {
        "@type": manager, "stat_prefix": "i", "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
    }  # fmt: skip
    listener = {
        "name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}]}
        ],
    }  # fmt: skip
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket_path}}}}
    cluster = {
        "name": "b", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "b", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }  # fmt: skip
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def peers_token() -> str:
    """Return a token that HAProxy, Envoy and FastAPI take."""
    issued_at = int(time.time())
    claims = {"sub": "bench", "iss": "bench", "aud": "bench", "iat": issued_at, "exp": issued_at + 86_400}
    signed = ".".join(
        _base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": "k"}, claims)
    )
    return f"{signed}.{_base64(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
