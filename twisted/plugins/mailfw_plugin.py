"""What mailfw adds to Twisted: the service ``mailfw``, and its built-in plug-ins by name."""

from twisted.application.service import ServiceMaker

from mailfw.plugins import Plugin

mailfw_service = ServiceMaker(
    "mailfw",
    "mailfw.service",
    "A mail server: SMTP, POP3 and IMAP, with every policy a plug-in.",
    "mailfw",
)

passwords = Plugin("auth", "passwords", "mailfw.accounts.passwords.password_file", "A file of Argon2id hashes.")
introspection = Plugin(
    "auth",
    "introspection",
    "mailfw.accounts.introspection.introspection",
    "Tokens, judged by the server they are from.",
)
accounts = Plugin("directory", "accounts", "mailfw.accounts.directory.directory", "Accounts and aliases.")

clients = Plugin("policy", "clients", "mailfw.policies.clients.ClientList", "Allows or refuses clients by address.")
senders = Plugin("policy", "senders", "mailfw.policies.senders.SenderList", "Allows or refuses senders.")
recipients = Plugin("policy", "recipients", "mailfw.policies.recipients.RecipientList", "Allows or refuses recipients.")
rate = Plugin("policy", "rate", "mailfw.policies.rate.RateLimit", "Defers clients and accounts that send too much.")
greylist = Plugin("policy", "greylist", "mailfw.policies.greylist.Greylist", "Defers senders not seen before.")
size = Plugin("policy", "size", "mailfw.policies.size.SizeLimit", "Refuses messages that are too large.")

log = Plugin("spool", "log", "mailfw.spools.log.log_spool", "Files of ours, with one sync for many messages.")
memory_spool = Plugin("spool", "memory", "mailfw.spools.memory.MemorySpool", "Keeps the queue until the server stops.")

routes = Plugin("router", "routes", "mailfw.routing.router.routes", "Our mailboxes, rules, a smarthost, or MX.")
stub = Plugin("resolver", "stub", "mailfw.dns.stub", "Asks the name servers of this machine.")
mailbox = Plugin("courier", "mailbox", "mailfw.couriers.mailbox.MailboxCourier", "Delivers into mailboxes.")
relay = Plugin("courier", "relay", "mailfw.couriers.relay.RelayCourier", "Hands mail to other servers by SMTP.")
lmtp = Plugin("courier", "lmtp", "mailfw.couriers.lmtp.LMTPCourier", "Hands mail to a server of mailboxes by LMTP.")

quota_file = Plugin("quota", "file", "mailfw.accounts.quotas.quota_file", "A file that `mailfw user quota` edits.")

memory = Plugin("store", "memory", "mailfw.stores.memory.MemoryStore", "Keeps mail until the server stops.")
maildir = Plugin("store", "maildir", "mailfw.stores.maildir.maildir", "Maildir++ folders on disk.")
sqlite = Plugin("store", "sqlite", "mailfw.stores.sqlite.sqlite", "All mail in SQLite: the fastest.")
