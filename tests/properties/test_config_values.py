"""Setting values: whatever the text, a value or ConfigError; and every value's text reads back."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.address import Authority, NodeId, SocketAddress
from keynet.config import Allow, Forward, Service, StaticPeer, UnixPath
from keynet.config.values import check_peer_address, listen_address, local_address, proxy_token
from keynet.errors import ConfigError

node_ids = st.binary(min_size=32, max_size=32).map(NodeId)
ports = st.integers(1, 65535)
names = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)
hosts = names | st.ip_addresses().map(str)
authorities = st.builds(Authority, hosts, ports)


def is_a_peers(authority: Authority) -> bool:
    """Whether a node can be there: names are looked up later."""
    try:
        address = SocketAddress(str(ipaddress.ip_address(authority.host)), authority.port)
    except ValueError:
        return True
    try:
        check_peer_address(address)
    except ConfigError:
        return False
    return True


locals_ = authorities | st.from_regex(r"/[a-z=:/]{1,20}", fullmatch=True).map(UnixPath)

values = st.one_of(
    st.builds(Service, ports, locals_),
    st.builds(Allow, node_ids, st.none() | st.frozensets(ports, min_size=1, max_size=5)),
    st.builds(StaticPeer, node_ids, authorities.filter(is_a_peers)),
    st.builds(Forward, locals_, node_ids, ports),
)


@given(values)
def test_text_reads_back(value: Service | Allow | StaticPeer | Forward) -> None:
    assert type(value).parse(str(value)) == value


PARSERS = [
    Service.parse,
    Allow.parse,
    StaticPeer.parse,
    Forward.parse,
    UnixPath.parse,
    local_address,
    listen_address,
    proxy_token,
]
alphabet = st.sampled_from("0123456789:=@,.[]/abk \0é%unix")
near = values.map(str).flatmap(
    lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut] + text[cut + 1 :])
)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text(alphabet) | st.text() | near)
def test_any_text_gives_a_value_or_a_config_error(parse: object, text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text)  # type: ignore[operator]
