"""Where a caller is: networks, and what trusted proxies say about their caller."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
ProxyHeader = Literal["x-forwarded-for", "forwarded", "x-real-ip"]
# What a proxy may say instead of an address, and what we say when it writes nonsense: in no network.
UNKNOWN = "unknown"
MOST_HOPS = 50


class Networks:
    """
    A list of networks; `*` in it is every address.

    ::ffff:10.0.0.1 is 10.0.0.1, in the list and among callers: a listener for both IPv4 and IPv6 writes its IPv4 callers so.
    No wider IPv6 network has IPv4 addresses in it, not even ::/0.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        listed = tuple(names)
        self._all = "*" in listed
        self._networks = [_network(name) for name in listed if name != "*"]

    def __bool__(self) -> bool:
        return self._all or bool(self._networks)

    def __contains__(self, address: str) -> bool:
        if self._all or not self._networks:
            return self._all
        try:
            known = _unmapped(ipaddress.ip_address(address))
        except ValueError:
            return False
        return any(known in network for network in self._networks)


@dataclasses.dataclass(frozen=True)
class Grouping:
    """How many bits of an address tell its holder from others: whoever has one IPv6 address has a /64 at least."""

    ipv4_prefix: int = 32
    ipv6_prefix: int = 64

    def of(self, address: str) -> str:
        """Return the network that an address counts with; what is no address counts by itself."""
        return _group(address, self.ipv4_prefix, self.ipv6_prefix)


# Whose share of what we have an address is.
HOLDERS = Grouping()


class Proxies:
    """
    Tells the caller from the proxies before us.

    trusted: networks of proxies. header: the one header in which they name their caller; the others are not read,
    because a proxy passes on what it does not set.
    """

    def __init__(self, trusted: Iterable[str] = (), header: ProxyHeader = "x-forwarded-for") -> None:
        self._trusted = Networks(trusted)
        self._header = header

    def origin(self, environ: Mapping[str, Any]) -> tuple[str, str]:
        """Return the caller's address, `unknown` if a trusted proxy does not tell, and the scheme it used."""
        peer, scheme = _peer(environ.get("REMOTE_ADDR", "")), str(environ.get("wsgi.url_scheme", "http"))
        if peer not in self._trusted:
            return peer, scheme
        hops = self._hops(environ)
        # From the nearest proxy outwards; what stands left of the first address that is no proxy, anybody may have written.
        for address, said in reversed(hops):
            scheme = said or scheme
            if address not in self._trusted:
                return address, scheme
        return (hops[0][0] if hops else peer), scheme

    def believes(self, environ: Mapping[str, Any]) -> bool:
        """Say whether to take over a request id: from a trusted proxy, or from anybody while no proxy is declared."""
        return not self._trusted or _peer(environ.get("REMOTE_ADDR", "")) in self._trusted

    def _hops(self, environ: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (address, scheme or "") of each hop, the farthest first."""
        if self._header == "forwarded":
            return [_forwarded(element) for element in _split(environ.get("HTTP_FORWARDED", ""), ",")[-MOST_HOPS:]]
        name = "HTTP_X_REAL_IP" if self._header == "x-real-ip" else "HTTP_X_FORWARDED_FOR"
        scheme = _scheme(str(environ.get("HTTP_X_FORWARDED_PROTO", "")).split(",")[0])
        return [(clean(part) or UNKNOWN, scheme) for part in str(environ.get(name, "")).split(",")[-MOST_HOPS:] if part.strip()]


def clean(text: str) -> str:
    """Return an address without port, brackets and zone; `unknown` for what is not an address, nothing for nothing."""
    bare = text.strip().strip('"').strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    if not bare:
        return ""
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return UNKNOWN
    return str(_unmapped(address))


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address maps; any other as it is."""
    return getattr(address, "ipv4_mapped", None) or address


@functools.lru_cache(maxsize=1024)
def _group(address: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    try:
        known = _unmapped(ipaddress.ip_address(address))
    except ValueError:
        return address
    return str(ipaddress.ip_network((known, ipv4_prefix if known.version == 4 else ipv6_prefix), strict=False))


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(name, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    # The mapped addresses share 96 bits; a shorter prefix starts before them, and so is none of theirs.
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96)) if mapped else network


@functools.lru_cache(maxsize=1024)
def _peer(text: str) -> str:
    """Return the address at the other end of a connection. The kernel says it, so it is short, and the same callers come again and again."""
    return clean(text)


def _forwarded(element: str) -> tuple[str, str]:
    """Read one element of a Forwarded header (RFC 7239)."""
    pairs = {name.strip().lower(): value.strip().strip('"') for name, _, value in (pair.partition("=") for pair in _split(element, ";"))}
    return clean(pairs.get("for", "")) or UNKNOWN, _scheme(pairs.get("proto", ""))


def _scheme(text: str) -> str:
    scheme = text.strip().lower()
    return scheme if scheme in {"http", "https"} else ""


def _split(text: str, separator: str) -> list[str]:
    """Split outside of quotes; parts that are blank are dropped."""
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == separator and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]
