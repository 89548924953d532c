# What a program that uses Mail::IMAPClient does: PORT, USER, PASSWORD and the folder to make, in modified UTF-7, are its arguments.
# It prints one JSON line of what it saw, after the line "idling" when it waits for mail.
use strict;
use warnings;
use utf8;
use Encode qw(decode encode_utf8);
use IO::Socket::SSL;
use JSON::PP;
use Mail::IMAPClient;

$| = 1;
my ($port, $user, $password, $folder) = @ARGV;
my %saw;
# The certificate is self-signed.
my $imap = Mail::IMAPClient->new(
    Server => "127.0.0.1", Port => $port, User => $user, Password => $password, Uid => 1, Peek => 1,
    Starttls => [SSL_verify_mode => SSL_VERIFY_NONE],
) or die "no connection: $@";

sub must {
    my ($what, @answer) = @_;
    die "$what: " . ($imap->LastError // "") unless @answer && defined $answer[0];
    return wantarray ? @answer : $answer[0];
}

$saw{folders} = [sort { $a cmp $b } must("folders", $imap->folders)];
must("create", $imap->create($folder));
must("subscribe", $imap->subscribe($folder));
$saw{exists} = must("exists", $imap->exists($folder)) ? 1 : 0;
must("select", $imap->select("INBOX"));
my @uids = must("messages", $imap->messages);
$saw{count} = scalar @uids;
my $headers = must("headers", $imap->parse_headers(\@uids, "Subject", "From"));
$saw{subjects} = [map { decode("MIME-Header", $headers->{$_}{Subject}[0]) } @uids];
my $structure = must("structure", $imap->get_bodystructure($uids[0]));
$saw{type} = lc($structure->bodytype . "/" . $structure->bodysubtype);
$saw{envelope} = must("envelope", $imap->get_envelope($uids[0]))->messageid;
$saw{message} = must("message", $imap->message_string($uids[0]));
$saw{part} = must("part", $imap->bodypart_string($uids[0], 1));
must("flag", $imap->set_flag("Flagged", $uids[0]));
must("see", $imap->see($uids[0]));
$saw{flagged} = [must("flagged", $imap->search("FLAGGED"))];
$saw{unseen} = [must("unseen", $imap->unseen)];
$saw{by_subject} = [must("search", $imap->search("CHARSET", "UTF-8", "SUBJECT", encode_utf8("보고서")))];
must("copy", $imap->copy($folder, $uids[1]));
must("delete", $imap->delete_message($uids[1]));
must("expunge", $imap->expunge);
must("move", $imap->move($folder, $uids[2]));
must("expunge", $imap->expunge);
$saw{appended} = must("append", $imap->append_string("Drafts", "Subject: draft\r\n\r\nnot yet\r\n", "\\Draft \\Seen"));
must("select", $imap->select("INBOX"));
my $tag = must("idle", $imap->idle);
print "idling\n";
$saw{idle} = [map { s/\s+$//r } must("idle_data", $imap->idle_data(30))];
must("done", $imap->done($tag));
$saw{unseen_count} = must("unseen_count", $imap->unseen_count($folder));
must("logout", $imap->logout);
print encode_json(\%saw), "\n";
