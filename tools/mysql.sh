# shellcheck shell=bash
# mysql.sh is read by test.sh: it gets a MySQL server with Group Replication,
# which Debian has in its unstable suite only. The packages are unpacked into a
# folder. Nothing is installed, no script of a package runs, and no rights of
# root are needed.
#
#   unpack_mysql        unpacks what is not there yet
#   group_replication   runs the tests on three servers of it, as a group and as a
#                       primary with replicas
#
# The folder is CLUSTERSQL_MYSQL, or else one in a cache folder. A second run
# uses what is there; who removes the folder gets the suite's newest.

: "${cannot:?}" "${scratch:?}" # test.sh has them

mysql_package=mysql-server-core
mysql_by_hand="or unpack $mysql_package, and all that it depends on, into a folder by hand, and name that in CLUSTERSQL_MYSQL"

# mysql_folder says where the server is. Root's is not in root's home: the servers
# run as another user, who may not look into that.
mysql_folder() {
  local cache=${XDG_CACHE_HOME:-${HOME:-${TMPDIR:-/tmp}}/.cache}
  [ "$(id -u)" != 0 ] || cache=/var/cache
  realpath -m -- "${CLUSTERSQL_MYSQL:-$cache/clustersql/mysql}"
}

# mysql_version runs the server as the tests do, and prints what it says.
mysql_version() {
  local loader
  loader=$(compgen -G "$1/usr/lib/*/ld-linux*.so.*" | head -n 1)
  [ -n "$loader" ] && "$loader" --inhibit-cache --library-path "${loader%/*}" "$1/usr/sbin/mysqld" --no-defaults --version
}

# debian_archive prints where this machine gets Debian's packages from, as apt
# knows it. Without apt's lists the origin of a source is not known. Then the name
# of the release must do.
debian_archive() {
  local release found
  release=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || return
  found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
  [ -n "$found" ] || found=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' "Release: $release" 'Component: main' | head -n 1)
  [ -n "$found" ] && echo "$found"
}

# unpack_mysql has apt work in a folder of its own, with a list of sources of its
# own and nothing installed, so that the server comes with all libraries. apt
# checks the signatures.
unpack_mysql() {
  local folder new archive plan deb
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  folder=$(mysql_folder) || return
  if [ -e "$folder/usr/sbin/mysqld" ]; then
    echo "unpacked before; to get the newest: rm -r $folder"
    mysql_version "$folder" && return
    echo "the server in $folder does not run here, on $(uname -srm): remove the folder, or try another machine"
    return "$cannot"
  fi
  if [ -n "$(ls -A -- "$folder" 2>/dev/null)" ]; then
    echo "$folder has files and no MySQL server: name another folder in CLUSTERSQL_MYSQL"
    return "$cannot"
  fi
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || ! archive=$(debian_archive) || [ ! -e "$keyring" ]; then
    echo "this is no Debian with apt, sources and keyring: run it on one, such as in a container, $mysql_by_hand"
    return "$cannot"
  fi
  local apt=$scratch/apt
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" && : >"$apt/status" &&
    echo "deb [signed-by=$keyring] $archive unstable main" >"$apt/sources.list" || return
  chmod -R a+rX "$scratch" # apt fetches as a user of its own
  local options=(
    -qq -y -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt"
    -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o Acquire::Languages=none -o Acquire::Retries=2 -o APT::Update::Error-Mode=any -o APT::Install-Recommends=false
  )
  echo "reading what Debian's unstable suite has"
  if ! apt-get "${options[@]}" update; then
    echo "Debian's unstable suite is out of reach from here: try again with a network, $mysql_by_hand"
    return "$cannot"
  fi
  if ! plan=$(apt-get "${options[@]}" --simulate install "$mysql_package" | grep '^Inst '); then
    echo "Debian's unstable suite does not have a whole $mysql_package today: try again another day, $mysql_by_hand"
    return "$cannot"
  fi
  echo "unpacking into $folder the server, and the packages that it needs:"
  sed 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/' <<<"$plan" | paste -s -d, | sed 's/,/, /g' | fold -s -w 100
  if ! apt-get "${options[@]}" --download-only install "$mysql_package"; then
    echo "not all packages came: try again, $mysql_by_hand"
    return "$cannot"
  fi
  mkdir -p "${folder%/*}" && new=$(mktemp -d "$folder.XXXXXX") || return
  # shellcheck disable=SC2064 # a step is a shell of its own: this is for its end, whatever it is
  trap "rm -rf -- '$new'" EXIT
  chmod 755 "$new"
  for deb in "$apt"/archives/*.deb; do
    dpkg-deb -x "$deb" "$new" || return
  done
  if ! mysql_version "$new"; then
    echo "the server does not run here, on $(uname -srm): try another machine"
    return "$cannot"
  fi
  [ ! -d "$folder" ] || rmdir "$folder"
  mv -T "$new" "$folder"
}

group_replication() {
  local folder
  folder=$(mysql_folder) || return
  if [ ! -e "$folder/usr/sbin/mysqld" ]; then
    echo "there is no MySQL server: see the step before"
    return "$cannot"
  fi
  CLUSTERSQL_MYSQL=$folder go test -json -race -count=1 -timeout 15m -run '^Test(GroupReplication|MySQLReplication)$' ./integration
}
