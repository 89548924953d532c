# Installs the programs that tests talk to: from Debian, only as root, only what is missing, without starting any; and
# one client from npm, into .interop of this checkout.  Where that cannot be, the tests that need them are skipped.

wanted="swaks gsasl libnet-ssleay-perl isync mutt neomutt alpine offlineimap3 getmail6 fetchmail libmail-imapclient-perl libio-socket-ssl-perl curl"
wanted="$wanted dovecot-imapd dovecot-pop3d postfix openssl faketime e2fsprogs mount"
imapflow=1.6.6

# Node.js may come from elsewhere than Debian, with its own npm.
command -v node >/dev/null || wanted="$wanted nodejs"
command -v npm >/dev/null || wanted="$wanted npm"

# No service starts: the tests run their own, with their own configuration.
install_from_debian() {
    missing=""
    for package in $wanted; do
        case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
            "install ok installed") ;;
            *) missing="$missing $package" ;;
        esac
    done
    [ -z "$missing" ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "interop: not root on Debian; tests that need these are skipped:$missing" >&2
        return
    fi
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    made_policy=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made_policy=yes
    fi
    echo "interop: installing$missing"
    if ! { apt-get -qq update && apt-get -qq install --yes --no-install-recommends $missing; } >"$said" 2>&1 </dev/null; then
        tail -n 5 "$said" >&2
        echo "interop: could not install; tests that need these are skipped:$missing" >&2
    fi
}

# Only as an archive that is unpacked: no package runs anything while it is installed.
install_from_npm() {
    folder=$(dirname "$0")/../.interop
    grep -qs "\"version\": \"$imapflow\"" "$folder/node_modules/imapflow/package.json" && return
    if ! command -v npm >/dev/null; then
        echo "interop: no npm; the test of imapflow is skipped" >&2
        return
    fi
    echo "interop: installing imapflow $imapflow"
    if ! npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts "imapflow@$imapflow" >"$said" 2>&1 </dev/null; then
        tail -n 5 "$said" >&2
        echo "interop: could not install; the test of imapflow is skipped" >&2
    fi
}

said=$(mktemp)
made_policy=""
trap '[ -z "$made_policy" ] || rm -f "$policy"; rm -f "$said"' EXIT
install_from_debian
install_from_npm
exit 0
