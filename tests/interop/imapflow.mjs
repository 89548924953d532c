// What a program that uses imapflow does: PORT, USER, PASSWORD and the folder to make are its arguments.
// It prints one JSON line of what it saw, after the line "idling" when it waits for mail.
import { createRequire } from "node:module";
import { buffer } from "node:stream/consumers";

const { ImapFlow } = createRequire(process.env.IMAPFLOW)("imapflow");
const [port, user, pass, folder] = process.argv.slice(2);
const saw = {};
// The certificate is self-signed.
const client = new ImapFlow({
    host: "127.0.0.1", port: Number(port), secure: false, auth: { user, pass },
    tls: { rejectUnauthorized: false }, logger: false, qresync: true,
});

await client.connect();
saw.secure = client.secureConnection;
saw.capabilities = [...client.capabilities.keys()];
saw.enabled = [...client.enabled];
saw.folders = (await client.list()).map((each) => [each.path, each.specialUse ?? null]);
saw.created = (await client.mailboxCreate(folder)).created;
await client.mailboxSubscribe(folder);

const lock = await client.getMailboxLock("INBOX");
saw.exists = client.mailbox.exists;
saw.messages = [];
for await (const each of client.fetch("1:*", {
    uid: true, flags: true, envelope: true, bodyStructure: true, internalDate: true, size: true, headers: ["subject"],
})) {
    saw.messages.push([each.uid, each.envelope.subject, each.envelope.from[0].name, each.bodyStructure.type]);
}
saw.text = (await buffer((await client.download("1", "1")).content)).toString();
const attachment = await client.download("1", "2");
saw.filename = attachment.meta.filename;
saw.attachment = (await buffer(attachment.content)).toString("base64");
await client.messageFlagsAdd("1", ["\\Seen", "\\Flagged"]);
saw.by_subject = await client.search({ subject: "보고서" }, { uid: true });
saw.unseen = await client.search({ seen: false }, { uid: true });
saw.copied = (await client.messageCopy("2", folder)).uidMap?.size;
saw.deleted = await client.messageDelete("2");
saw.moved = (await client.messageMove({ subject: "lunch" }, folder)).uidMap?.size;
saw.appended = (await client.append("Drafts", "Subject: draft\r\n\r\nnot yet\r\n", ["\\Draft", "\\Seen"])).uid;

const arrived = new Promise((resolve) => client.on("exists", (event) => resolve(event.count)));
const idling = client.idle();
process.stdout.write("idling\n");
saw.arrived = await arrived;
await client.noop();
await idling;
lock.release();
saw.status = await client.status(folder, { messages: true, unseen: true, uidNext: true });
saw.quota = await client.getQuota("INBOX");
await client.logout();
process.stdout.write(JSON.stringify(saw) + "\n");
