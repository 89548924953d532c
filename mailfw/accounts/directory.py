"""The directory: which addresses are ours, and whose they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from twisted.logger import Logger
from zope.interface import implementer

from mailfw.accounts.aliases import Aliases, alias_name, fold, parse_target, read_aliases
from mailfw.accounts.names import default_domain, full_name
from mailfw.accounts.portal import OrderedAccounts
from mailfw.accounts.textfile import WatchedFile
from mailfw.interfaces import IAccountList, IDirectory
from mailfw.mail.address import Address, normalise_domain
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, NotLocal, Resolution
from mailfw.site import Site

log = Logger()

#: RFC 5321 section 4.5.1 and RFC 2142 section 4: somebody reads the mail to these, in each domain.
ALWAYS_READ = frozenset({"postmaster", "abuse"})
#: Addresses one alias may stand for, and steps on the way there: a mistake in a file must not become a flood.
MOST_TARGETS = 1000


#: What one look finds: an account, nothing, or what an alias stands for.
Step = LocalAccount | NoSuchRecipient | tuple[str, ...]


@implementer(IDirectory)
class AccountsDirectory:
    """
    Looks an address up among aliases and accounts.

    `aliases` is asked anew for each address.  `separator` is what comes before a detail (``ann+lists``), ``""`` for no
    details at all.  `postmaster` is the account that gets what `ALWAYS_READ` names where no alias says
    otherwise; without one it is the first account of the first list that can tell.
    """

    def __init__(
        self,
        site: Site,
        accounts: Sequence[IAccountList],
        aliases: Callable[[], Awaitable[Aliases]],
        separator: str = "+",
        postmaster: str = "",
    ) -> None:
        self._domains = site.domains
        self._main_domain = site.hostname if site.hostname in site.domains else min(site.domains, default="")
        self._accounts = accounts
        self._aliases = aliases
        self._separator = separator
        self._postmaster = postmaster

    async def resolve(self, address: Address) -> Resolution:
        """Return what the address stands for."""
        try:
            domain = normalise_domain(address.domain)
        except ValueError:
            return NotLocal()
        if not domain and fold(address.local) == "postmaster":
            domain = self._main_domain  # RFC 5321 section 4.1.1.3: <Postmaster> is right without a domain
        if domain not in self._domains:
            return NotLocal()
        aliases = await self._aliases()
        found = await self._look_up(address.local, domain, aliases)
        if not isinstance(found, tuple):
            return found
        return await self._expand(Address(fold(address.local), domain), found, aliases)

    async def _look_up(self, local: str, domain: str, aliases: Aliases) -> Step:
        """Take one step: an account, nothing, or the targets of an alias."""
        for name, detail in self._names(local):
            exact = f"{fold(name)}@{domain}"
            targets = aliases.get(exact) or aliases.get(fold(name))
            if targets is not None:
                return targets
            if await self._has_account(exact):
                return LocalAccount(exact, detail)
        catch_all = aliases.get(f"@{domain}")
        if catch_all is not None:
            return catch_all
        if fold(local) in ALWAYS_READ:
            account = self._postmaster or await self._first_account()
            return LocalAccount(account) if account else NoSuchRecipient()
        return NoSuchRecipient()

    def _names(self, local: str) -> list[tuple[str, str]]:
        """Return the local parts to look for, and the detail that each leaves out."""
        if not self._separator:
            return [(local, "")]
        bare, separator, detail = local.partition(self._separator)
        return [(local, ""), (bare, detail)] if separator and bare else [(local, "")]

    async def _expand(self, start: Address, targets: tuple[str, ...], aliases: Aliases) -> Resolution:
        """
        Follow aliases to their ends.

        A name that stands for itself, at once or by way of others, is the account of that name, if there is one: so
        that mail can be kept and passed on.
        """
        ends: dict[Address, None] = {}
        seen: set[Address] = set()
        waiting = self._below(start, targets, frozenset())
        while waiting and len(seen) < MOST_TARGETS and len(waiting) <= MOST_TARGETS:
            address, above = waiting.pop()
            if address in seen and address not in above:
                continue
            seen.add(address)
            found = await self._step(address, aliases, again=address in above)
            if isinstance(found, tuple):
                waiting += self._below(address, found, above)
            elif isinstance(found, NoSuchRecipient):
                log.info("{alias} stands for {nobody}, who is nobody", alias=str(start), nobody=str(address))
            else:
                ends[address] = None
        if waiting:
            log.warn("{alias} stands for too many addresses", alias=str(start))  # noqa: G010  # Twisted has no longer name
        return Expansion(tuple(ends)) if ends else NoSuchRecipient()

    async def _step(self, address: Address, aliases: Aliases, again: bool) -> Step | NotLocal:
        if address.domain not in self._domains:
            return NotLocal()
        if not again:
            return await self._look_up(address.local, address.domain, aliases)
        name = f"{address.local}@{address.domain}"
        return LocalAccount(name) if await self._has_account(name) else NoSuchRecipient()

    def _below(
        self, address: Address, targets: tuple[str, ...], above: frozenset[Address]
    ) -> list[tuple[Address, frozenset[Address]]]:
        """Return what an alias stands for, last first, and with each the aliases that led there."""
        path = above | {address}
        return [(self._canonical(parse_target(target, address.domain)), path) for target in reversed(targets)]

    def _canonical(self, address: Address) -> Address:
        """Bring an address of ours to the form in which it is compared; others keep the case of their local part."""
        return Address(fold(address.local), address.domain) if address.domain in self._domains else address

    async def _has_account(self, name: str) -> bool:
        for accounts in self._accounts:
            if await accounts.has_account(name):
                return True
        return False

    async def _first_account(self) -> str | None:
        for accounts in self._accounts:
            first = await accounts.first_account() if isinstance(accounts, OrderedAccounts) else None
            if first is not None:
                return first
        return None


def directory(
    site: Site,
    accounts: Sequence[IAccountList],
    aliases: str = "aliases",
    catch_all: Sequence[str] = (),
    detail_separator: str = "+",
    postmaster: str = "",
) -> AccountsDirectory:
    """
    Addresses of the accounts, and a file of aliases.

    `accounts` are the lists of the checkers.  `aliases` is the file, relative to the data directory, with lines
    such as ``sales@example.org: ann@example.org, bob@example.com``; without a domain on the left a line is for all of
    them, and ``@example.org`` is whatever else comes there.  `catch_all` says the same in the configuration:
    ``example.org=ann@example.org``, or an address alone for its own domain.  `detail_separator` begins a
    detail, as in ``ann+lists``; empty for none.  `postmaster` is the account that gets postmaster's and abuse's mail,
    if not the first one.
    """
    configured = read_catch_all(catch_all)
    file = WatchedFile(site.data / aliases, lambda text: {**configured, **read_aliases(text)}, site.reactor)
    reader = full_name(postmaster, default_domain(site)) if postmaster else ""
    return AccountsDirectory(site, accounts, file.current, detail_separator, reader)


def read_catch_all(entries: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Read ``domain=target`` and ``target``, several for one domain too.  Raises `ValueError` naming the entry."""
    targets: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        domain, _, target = entry.rpartition("=")
        try:
            address = parse_target(target.strip(), "")
            name = alias_name("@" + (domain.strip() or address.domain))
        except ValueError:
            raise ValueError(f"not a catch-all: {entry!r}; it is written example.org=ann@example.org")
        targets[name] = (*targets.get(name, ()), target.strip())
    return targets
