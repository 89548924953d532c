# Installs from Debian the programs that tests talk to: only as root, only what is missing, without starting any.
# Where that cannot be, the tests that need them are skipped with that reason.

wanted="swaks gsasl libnet-ssleay-perl isync mutt fetchmail curl dovecot-imapd dovecot-pop3d postfix openssl faketime e2fsprogs mount"

missing=""
for package in $wanted; do
    case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
        "install ok installed") ;;
        *) missing="$missing $package" ;;
    esac
done

[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "interop: not root on Debian; tests that need these are skipped:$missing" >&2
    exit 0
fi

# No service starts: the tests run their own, with their own configuration.
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made_policy=yes
fi
trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT

echo "interop: installing$missing"
if ! { apt-get -qq update && apt-get -qq install --yes --no-install-recommends $missing; } >/tmp/mailfw-interop.$$ 2>&1 </dev/null; then
    tail -n 5 /tmp/mailfw-interop.$$ >&2
    echo "interop: could not install; tests that need these are skipped:$missing" >&2
fi
rm -f /tmp/mailfw-interop.$$
exit 0
