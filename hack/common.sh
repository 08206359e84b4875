# Sourced by the scripts beside it: where downloads are kept, and how Debian packages are fetched without touching the system.

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kubebpf

say() { printf '[%s] %s\n' "$(date +%T)" "$*" >&2; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# as_root CMD...: apt needs root; elsewhere sudo is the usual way there.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# need_packages PACKAGE...: install those that dpkg does not know as installed; silent when all are there.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  # A stale package list is the usual cause of a failed install: refresh it and try once more.
  apt_install "${missing[@]}" >/dev/null 2>&1 && return
  local said
  said=$(apt_get update 2>&1 && apt_install "${missing[@]}" 2>&1) || { echo "$said" >&2; return 1; }
}
# Other processes may hold apt's lock for a while.
apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -oDPkg::Lock::Timeout=300 "$@"; }
apt_install() { apt_get --no-install-recommends -y install "$@"; }

# debian_mirror: DEBIAN_MIRROR, else the mirror this machine's apt uses, else (Ubuntu) the one that packaged tools know.
debian_mirror() {
  local mirror=${DEBIAN_MIRROR:-}
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$' || true)
  if [ -z "$mirror" ]; then
    need_packages debootstrap python-apt-common
    mirror=$(grep -hoE 'https?://[^" ]+/debian/?("|$)' /usr/sbin/debootstrap /usr/share/python-apt/templates/Debian.info 2>/dev/null |
      head -n 1 | tr -d '"')
  fi
  [ -n "$mirror" ] || fail "no Debian mirror is known; set DEBIAN_MIRROR"
  echo "$mirror"
}

# private_apt DIR: an apt configuration in DIR that knows bookworm (or $SUITE) only, binaries and sources; sets the array APT.
private_apt() {
  local dir=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg kind
  [ -e "$keyring" ] || need_packages debian-archive-keyring
  mkdir -p "$dir"/{lists/partial,cache/archives/partial,etc/parts}
  local mirror; mirror=$(debian_mirror)
  for kind in deb deb-src; do echo "$kind [signed-by=$keyring] $mirror ${SUITE:-bookworm} main"; done >"$dir/sources.list"
  : >"$dir/status"
  # Root downloads as root: apt's own user cannot enter a private directory.
  APT=(-oDir::State::Lists="$dir/lists" -oDir::State::status="$dir/status" -oDir::Cache="$dir/cache"
       -oDir::Etc::SourceList="$dir/sources.list" -oDir::Etc::SourceParts="$dir/etc/parts" -oDir::Etc::Preferences=/dev/null
       -oDir::Etc::PreferencesParts="$dir/etc/parts" -oAPT::Sandbox::User=root -oAcquire::Retries=3)
  apt-get "${APT[@]}" -qq update
}
