"""What nasty messages are made of, right and wrong: words, types, parameters, addresses, dates, subjects and ids."""

from __future__ import annotations

#: Words to look for, in several alphabets, and charsets that can write them.
WORDS = {
    "us-ascii": ["apple", "Invoice", "meeting", "HELLO", "report-2026", "ball"],
    "iso-8859-1": ["Grüße", "façade", "señor", "Ærø", "Straße"],
    "utf-8": ["Grüße", "회의록", "안녕하세요", "日本語", "中文邮件", "Ελλάδα", "Привет", "naïve"],
    "euc-kr": ["회의록", "안녕하세요", "보고서"],
    "iso-2022-jp": ["日本語", "会議", "こんにちは"],
    "shift_jis": ["日本語", "会議", "ソフト"],
    "gb2312": ["中文邮件", "会议", "报告"],
    "big5": ["會議", "報告", "中文"],
    "koi8-r": ["Привет", "отчёт"],
    "windows-1252": ["Grüße", "façade", "“quoted”"],
}
CHARSETS = list(WORDS)
#: What is said of charsets and is not so.
WRONG = ["x-nobody-knows", "utf-16", "us-ascii", "iso-8859-99", "", "utf-8", '"', "UTF-7", "binary", "cp0"]

TEXT_TYPES = [
    "text/plain", "TEXT/HTML", "text/enriched", "text/plain ; format=flowed", "text", "text/", "/plain", "",
    "text/plain;", "text/plain; charset", "text/plain; =x", "text/plain;;;charset=utf-8", "text /plain",
    "text/ plain", "text/pl(c)ain", "(c)text/plain", "text/plain (a comment; x=y)", "text/x-y.z+w",
    "application/octet-stream", "image/png", "video/*", "garbage", "text/plain; charset=utf-8 (comment)",
    "text/plain charset=utf-8", "message/delivery-status", "message/external-body; access-type=local-file",
    "message/partial; id=x; number=1", "message/global", "text/plain/more", "text;plain", "a/b/c; d=e",
    "application/x; y=z; y=w",
]  # fmt: skip
PARAMETERS = [
    "name=plain.txt", 'name="in quotes.txt"', "name=two words.txt", 'name="never closed', "name=", 'name=""',
    "name*=utf-8''%EC%95%88%EB%85%95.txt", "name*0=one; name*1=two",
    "name*0*=utf-8'ko'%EC%95; name*1*=%88; name*2=.txt", "name*1=second; name*0=first", "name*0=first; name*2=third",
    "name*=unknown''%FF%FE", "name*=%41", "name*0*=''a", 'name="=?utf-8?B?7JWI64WV?=.txt"', "name==?utf-8?Q?a_b?=",
    "name=x; name=y", "NAME=Upper.TXT", "name = spaced.txt", "name=x;;", "name=a\\b", 'name="a\\"b\\\\c"',
    "name=(c)d", 'name=a"b"c', "name=안녕.txt", "name*0=a; name=b", "name*00=a; name*01=b",
    "name*0*=utf-8''x; name*10*=y", "name*x=y", "*=y", "name**=z", "x=[a]", "x=a/b?c",
    "name*0=\"a b\"; name*1=\" c\"", "x='y'", "x=@", "x=<y>", "x=y z=w",
]  # fmt: skip
DISPOSITIONS = [
    "attachment", "inline", "ATTACHMENT", "", ";", "attachment; filename=x.txt", 'attachment; filename="a b.txt"',
    "attachment; filename*=utf-8''%EC%95%88.txt", "x-odd (c); size=1", "attachment; filename*0=a; filename*1=b.txt",
    "inline; filename=a b c.txt; size=7", "attachment filename=x", 'attachment; filename="x', "attachment/x; y=z",
]  # fmt: skip
ENCODINGS = [
    "7bit", "8bit", "BASE64", "base64", "quoted-printable", "Quoted-Printable (c)", "x-unknown", "", "binary",
    "uuencode", "base 64", '"base64"', "(c) base64", "base64;", "7bit x",
]  # fmt: skip
LANGUAGES = ["de", "de, en", "", "de,,en", "en (c)", '"en"', "x-y, z", "de en", ",", "de;x=y", "EN-US"]
OTHERS = [
    "Content-ID: <a@b>", "Content-ID: (c) <a@b> x", "Content-ID:",
    "Content-Description: some =?utf-8?Q?W=C3=B6rter?=", "Content-Description:",
    "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==", "Content-Location: http://example.org/ a", "Content-Location:",
    "Content-MD5:", "Content-MD5: (c) x", "Content-Id: <1@2>\r\nContent-ID: <3@4>",
    "Content-Description: two\r\n\tlines", 'Content-Description: "quoted"', "Content-Location: (c)x\r\n y",
]  # fmt: skip

ADDRESSES = [
    "a@b.example", "<a@b.example>", "Ann Bo <a@b.example>", '"Ann, Bo" <a@b.example>', "a@b.example (Ann Bo)", "Ann",
    "<>", "a@", "@b.example", "<@r1.example,@r2.example:a@b.example>", "<@r1.example:a@b.example>",
    "Group: a@b.example, c@d.example;", "Group:;", "Group: a@b.example", "Group: Ann <a@b.example>; x@y.example",
    '"a b"@c.example', '"a\\"b"@c.example', "a.b@c.example", "a . b @ c . example", "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]", "Ann (c1) Bo (c2) <a(c3)@(c4)b.example>", "Ann Bo a@b.example",
    "=?utf-8?Q?Gr=C3=BC=C3=9Fe?= <a@b.example>", "=?euc-kr?B?yMDH1A==?= <a@b.example>",
    '"=?utf-8?Q?x?=" <a@b.example>', '"Ann', "Ann <a@b.example", "a@b.example>", "Ann <a@b.example> trailing",
    "<a@b.example> Ann", "Ann <a@b> <c@d>", "a@b@c.example", ",", ",,", "a@b.example,,c@d.example",
    "a@b.example; c@d.example", "안녕 <a@b.example>", "a@안녕.example", "undisclosed-recipients:;",
    "Ann\r\n Bo\r\n <a@b.example>", "a@\r\n b.example", "(comment only)", "(unclosed a@b.example", "a@b.example)",
    "\\a@b.example", "a..b@c.example", ".a@b.example", "a.@b.example", "Ann. Bo <a@b.example>",
    "Mr. A. <a@b.example>", "A \"B\" C <a@b.example>", '""@b.example', '"" <a@b.example>', "a b@c.example",
    "a@b c@d", "mailto:a@b.example", "<mailto:a@b.example>", "Ann <a b@c.example>", "a@b.example (one) (two)",
    "(one) a@b.example", "((nested) c) a@b.example", "Group (c): a@b.example;", "Outer: Inner: a@b.example;;",
    "Ann <Bo <a@b.example>>", "a%b@c.example", "a!b", "Ann [x] <a@b.example>", "Ann@Home <a@b.example>",
    "'Ann' <a@b.example>", "Ann Bo <>", "Group: ;", ": a@b.example;", ";", "<a@b.example>, <c@d.example>",
    "\"a@b\" <c@d.example>", "Ann <\"a b\"@c.example>", "Ann<a@b.example>", "a@b.example.", "Ann:Bo <a@b.example>",
    "<a>", "Ann <a>",
]  # fmt: skip

DATES = [
    "Mon, 2 Feb 2026 10:11:12 +0900", "2 Feb 2026 10:11 +0900", "Mon,2 Feb 2026 10:11:12 +0900",
    "Mon, 2 Feb 26 10:11:12 GMT", "Mon, 2 Feb 126 10:11:12 UT", "Mon, 2 Feb 99 10:11:12 EST",
    "Mon, 2 Feb 2026 10:11:12 PDT", "Mon, 2 Feb 2026 10:11:12 Z", "Mon, 2 Feb 2026 10:11:12 A",
    "Mon, 2 Feb 2026 10:11:12 J", "Mon, 2 Feb 2026 10:11:12", "Mon, 2 Feb 2026", "Mon Feb  2 10:11:12 2026",
    "2026-02-02T10:11:12Z", "2026-02-02 10:11:12 +0900", "Mon, 30 Feb 2026 10:11:12 +0000",
    "Mon, 2 Feb 2026 25:00:00 +0000", "Mon, 2 Feb 2026 24:00:00 +0000", "Mon, 2 Feb 2026 10:60:00 +0000",
    "Mon, 2 Feb 2026 10:11:60 +0000", "Mon, 2 Feb 2026 23:59:60 +0000",
    "Mon (c), 2 (c) Feb (c) 2026 (c) 10:11:12 (c) +0900 (KST)", "Mon, 2 Feb\r\n 2026 10:11:12\r\n +0900", "",
    "garbage", "Tue, 2 Feb 2026 10:11:12 +0000", "Mon, 2 February 2026 10:11:12 +0000",
    "Monday, 2-Feb-26 10:11:12 GMT", "Mon, 2 Feb 2026 10:11:12 +9900", "Mon, 2 Feb 2026 10:11:12 -0000",
    "Mon, 2 Feb 2026 10:11:12 +0960", "Mon, 2 Feb 2026 10:11:12 +09:00", "Mon, 2 Feb 2026 10.11.12 +0900",
    "Thu, 1 Jan 1970 00:00:00 +0000", "Thu, 1 Jan 1970 00:00:00 +0100", "Fri, 1 Jan 1960 00:00:00 +0000",
    "Mon, 2 Feb 9999 10:11:12 +0000", "Mon, 2 Feb 12026 10:11:12 +0000", "Tue, 19 Jan 2038 03:14:08 +0000",
    "0 Feb 2026 10:11:12 +0000", "Mon, 02 Feb 2026 1:2:3 +0000", "Mon, 2 Feb 2026 10:11:12 +0900 trailing",
    "Mon, 2 Feb 2026 10:11:12 XYZ", "Mon, 2 Feb 2026 10 : 11 : 12 +0900", "2 Feb 2026 10:11:12 PM +0900",
    "Mon, 29 Feb 2024 10:11:12 +0000", "Sun, 1 Mar 2026 23:30:00 -0800", "Sun, 1 Mar 2026 00:30:00 +0900",
    "Sat, 28 Feb 2026 23:59:59 -1200", "32 Jan 2026 00:00:00 +0000",
]  # fmt: skip

SUBJECTS = [
    "{}", "Re: {}", "RE: {}", "re : {}", "Re: Re: {}", "Fwd: {}", "FW: {}", "fwd : {}", "Re[2]: {}", "Re [x]: {}",
    "[list] {}", "[list] Re: {}", "Re: [list] {}", "[a][b] {}", "[fwd: {}]", "[Fwd: Re: {}]", "{} (fwd)",
    "{} (Fwd) (fwd)", "Re: {} (fwd)", "[only]", "Re:", "Re: [list]", "[list]", "(fwd)", "[fwd:]", "[fwd: [fwd: {}]]",
    "  {}  ", "{}\t \t{}", "Re:{}", "AW: {}", "Re: Fwd: [x] Re[3]: {}", "[unclosed {}", "unopened] {}",
    "Re[unclosed: {}", "", "Re: [a] [b] {}", "[[nested]] {}", "re[2]x: {}", "Fwdd: {}", "FWD[1]: {} (fwd)",
    "[fwd: {}] (fwd)", "[fwd: {} (fwd)]", "Re: (fwd)", "fw:{}", "[a]{}", "[ ]{}", "[]{}", "Re: [fwd: {}]", "{}:",
    "re", "[fwd: Re:]",
]  # fmt: skip

ODD_IDS = [
    "a{}@x.example", "<a{} @x.example>", '<"a{}"@x.example>', "<a{}>", "<>", "(c) <a{}@x.example>",
    "<a{}@x.example> <b{}@x.example>", "<a{}@\r\n x.example>", "Your message of Monday", '"A" <a{}@x.example>',
    "<a{}@x.example", "a{}@x.example>", "<a{}@[1.2.3.4]>", "", "<@x.example>", "<a{}@x.example>,<b{}@x.example>",
    "<A{}@X.EXAMPLE>", "<a{}@x.example>(c)<c{}@x.example>", '<"a\\{}"@x.example>', "<a.b{}@x>", "<a{}@x.example>.",
]  # fmt: skip
