#!/usr/bin/env bash
# Real servers for tests and for the desk: PostgreSQL with pgaudit, MariaDB with server_audit, and
# one node of Apache Kafka. All of them listen on loopback only and keep everything in one folder.
#
#   servers.sh install              installs what is missing; says what
#   servers.sh start NAME DIR [PORT]
#                                   makes a fresh server in DIR, or starts again the one that lies
#                                   there on the port that it had; prints one line of key=value.
#                                   NAME: postgresql, mariadb, kafka, kafka-secure
#   servers.sh acls DIR ARGUMENT... kafka-acls for the kafka-secure in DIR, as its administrator
#   servers.sh stop DIR             stops it, by the process id in DIR/pid
#   servers.sh up | down            all of them under .cache/servers
#
# PostgreSQL refuses to run as root, so that root starts it as the user postgres, and MariaDB as the
# user mysql: both need to reach DIR. kafka-secure has a second listener, SASL_SSL with SCRAM-SHA-512
# and a certificate of an authority made for it alone: DIR/ca.pem, user custody, DIR/password. There
# custody may do everything, as may whoever comes by the first listener; the users custody-ledger
# and custody-agent-orders, of the same password, may do what `servers.sh acls DIR` gives them.
# With KAFKA_PROXY_PORT set when it is made, a broker has a listener behind a proxy on that port of
# loopback, which passes on to `behind_port`: clients that come through it are sent through it.
set -euo pipefail
cd "$(dirname "$0")/.."

lib=$PWD/.cache/kafka/lib
pom=$PWD/scripts/kafka/pom.xml
up=$PWD/.cache/servers
patience=120

fail() {
    printf 'servers.sh: %s\n' "$*" >&2
    exit 1
}

# --- install ---------------------------------------------------------------------------------

# Debian's packages start their servers at once, on well-known ports, unless they are told not to.
apt_install() {
    local policy=/usr/sbin/policy-rc.d ours='' code=0
    printf 'servers.sh: installing %s\n' "$*"
    [ "$(id -u)" = 0 ] || fail "apt-get needs root: install $*"
    apt-get update -qq
    if ! [ -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
        ours=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" || code=$?
    [ -z "$ours" ] || rm -f "$policy"
    return "$code"
}

install() {
    local missing=() package
    for package in postgresql-15 postgresql-15-pgaudit postgresql-15-pgauditlogtofile \
        mariadb-server mariadb-client openssl; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' ||
            missing+=("$package")
    done
    command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
    jars_are_there || command -v mvn >/dev/null || missing+=(maven)
    [ "${#missing[@]}" = 0 ] || apt_install "${missing[@]}"
    jars_are_there || install_jars
}

# The copy of the file that the jars were copied for lies beside them.
jars_are_there() {
    cmp -s "$pom" "$lib/pom.xml"
}

install_jars() {
    printf 'servers.sh: copying the jars of Apache Kafka to %s\n' "$lib"
    rm -rf "$lib"
    mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$lib"
    cp "$pom" "$lib/pom.xml"
}

# --- start -----------------------------------------------------------------------------------

start() {
    local name=$1 dir=$2 port=${3:-}
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if [ -e "$dir/pid" ] && runs "$(cat "$dir/pid")"; then
        fail "a server runs in $dir already"
    fi
    rm -f "$dir/pid"
    [ -n "$port" ] || port=$(cat "$dir/port" 2>/dev/null || free_port)
    printf '%s\n' "$port" >"$dir/port"
    case $name in
    postgresql) start_postgresql "$dir" "$port" ;;
    mariadb) start_mariadb "$dir" "$port" ;;
    kafka) start_kafka "$dir" "$port" ;;
    kafka-secure) start_kafka "$dir" "$port" secure ;;
    *) fail "no such server: $name" ;;
    esac
}

# Another process may take the port before the server does: then it does not start, and says so.
free_port() {
    perl -MIO::Socket::INET -e \
        'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# A process whose threads have all ended, but that nobody has waited for, runs no more.
runs() {
    local threads=("/proc/$1/task"/*)
    kill -0 "$1" 2>/dev/null &&
        { [ "${#threads[@]}" -gt 1 ] || ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }
}

# as USER COMMAND...: as that user if we are root, who may be anybody, else as ourselves.
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u "$user" -- "$@")
    else
        "$@"
    fi
}

# give USER DIR: makes the folder theirs, and checks that they reach it.
give() {
    if [ "$(id -u)" = 0 ]; then
        chown "$1" "$2"
    fi
    as "$1" test -w "$2" || fail "the user $1 cannot reach $2: choose a folder below /tmp"
}

# until_ready PID LOG COMMAND...: waits until the command succeeds.
until_ready() {
    local pid=$1 log=$2 end=$((SECONDS + patience))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ! runs "$pid" || [ "$SECONDS" -ge "$end" ]; then
            tail -n 20 "$log" >&2
            fail "the server did not become ready; see $log"
        fi
        sleep 0.1
    done
}

start_postgresql() {
    local dir=$1 port=$2 bin data=$1/data end=$((SECONDS + patience))
    bin=$(pg_bin)
    give postgres "$dir"
    if ! [ -e "$data/PG_VERSION" ]; then
        rm -rf "$data"
        as postgres "$bin/initdb" -D "$data" -A trust -U dba_root -E UTF8 --no-locale \
            --no-sync >"$dir/initdb.log" || fail "initdb failed; see $dir/initdb.log"
        as postgres tee -a "$data/postgresql.conf" >/dev/null <<CONF
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_preload_libraries = 'pgaudit'
logging_collector = on
log_destination = 'csvlog,jsonlog'
log_directory = '$dir/log'
log_filename = 'audit-%Y%m%dT%H%M%S.log'
log_rotation_size = 0
log_timezone = 'UTC'
log_connections = on
log_disconnections = on
compute_query_id = on
pgaudit.log = 'all'
pgaudit.log_parameter = on
pgaudit.log_relation = on
CONF
        # The administrator needs no password here, everybody else does.
        as postgres tee "$data/pg_hba.conf" >/dev/null <<CONF
host all dba_root 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
CONF
    fi
    # After a kill the processes of the old server end by themselves, a moment later.
    until as postgres "$bin/pg_ctl" -D "$data" -o "-p $port" -w -t "$patience" \
        -l "$dir/start.log" start >"$dir/pg_ctl.log" 2>&1; do
        [ "$SECONDS" -lt "$end" ] || {
            cat "$dir/pg_ctl.log" "$dir/start.log" >&2
            fail "PostgreSQL did not start"
        }
        sleep 0.3
    done
    head -n 1 "$data/postmaster.pid" >"$dir/pid"
    printf 'name=postgresql pid=%s port=%s log=%s csv=%s json=%s\n' "$(cat "$dir/pid")" "$port" \
        "$dir/log" "$dir/log/audit-*.csv" "$dir/log/audit-*.json"
}

pg_bin() {
    local bin
    bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    [ -x "$bin/initdb" ] || fail "PostgreSQL is not installed: make servers"
    printf '%s' "$bin"
}

start_mariadb() {
    local dir=$1 port=$2 data=$1/data user=()
    command -v mariadbd >/dev/null || fail "MariaDB is not installed: make servers"
    [ "$(id -u)" != 0 ] || user=(--user=mysql)
    mkdir -p "$dir/log"
    give mysql "$dir"
    give mysql "$dir/log"
    if ! [ -e "$dir/my.cnf" ]; then
        rm -rf "$data"
        mariadb-install-db --no-defaults --datadir="$data" "${user[@]}" --skip-test-db \
            --auth-root-authentication-method=normal >"$dir/install.log" 2>&1 ||
            fail "mariadb-install-db failed; see $dir/install.log"
        cat >"$dir/my.cnf" <<CONF
[mariadbd]
datadir=$data
socket=$dir/s.sock
pid-file=$dir/mariadbd.pid
bind-address=127.0.0.1
log_error=$dir/log/error.log
log_warnings=2
plugin_load_add=server_audit
server_audit=FORCE_PLUS_PERMANENT
server_audit_logging=ON
server_audit_events=CONNECT,QUERY,TABLE
server_audit_output_type=file
server_audit_file_path=$dir/log/server_audit.log
server_audit_file_rotate_size=100000000
server_audit_file_rotations=999
server_audit_query_log_limit=65536
CONF
    fi
    setsid mariadbd --defaults-file="$dir/my.cnf" "${user[@]}" --port="$port" \
        </dev/null >"$dir/start.log" 2>&1 &
    printf '%s\n' "$!" >"$dir/pid"
    until_ready "$!" "$dir/log/error.log" \
        mariadb-admin --no-defaults --connect-timeout=2 -h127.0.0.1 -P"$port" -uroot ping
    printf 'name=mariadb pid=%s port=%s log=%s audit=%s\n' "$!" "$port" "$dir/log" \
        "$dir/log/server_audit.log"
}

start_kafka() {
    local dir=$1 port=$2 secure=${3:-} logged=scripts/kafka/log4j2.properties
    jars_are_there || fail "the jars of Kafka are missing: make servers"
    [ -e "$dir/server.properties" ] || make_kafka "$dir" "$port" "$secure"
    if [ -e "$dir/server.log" ]; then
        mv "$dir/server.log" "$dir/server.log.before"
    fi
    setsid java -Xms256m -Xmx512m -XX:MaxDirectMemorySize=256m -XX:+ExitOnOutOfMemoryError \
        -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$logged" -cp "$lib/*" kafka.Kafka \
        "$dir/server.properties" </dev/null >"$dir/server.log" 2>&1 &
    printf '%s\n' "$!" >"$dir/pid"
    until_ready "$!" "$dir/server.log" grep -q 'Kafka Server started' "$dir/server.log"
    printf 'name=kafka pid=%s port=%s' "$!" "$port"
    if [ -e "$dir/behind_port" ]; then
        printf ' behind_port=%s' "$(cat "$dir/behind_port")"
    fi
    if [ -n "$secure" ]; then
        printf ' secure_port=%s ca=%s user=custody password_file=%s' \
            "$(cat "$dir/secure_port")" "$dir/ca.pem" "$dir/password"
    fi
    printf '\n'
}

# make_kafka DIR PORT [secure]: settings, keys and an empty storage.
make_kafka() {
    local dir=$1 port=$2 secure=${3:-} control id name scram=() settings=$1/server.properties
    control=$(free_port)
    local listeners="PLAINTEXT://127.0.0.1:$port" protocols=PLAINTEXT:PLAINTEXT
    if [ -n "$secure" ]; then
        free_port >"$dir/secure_port"
        listeners+=",SECURE://127.0.0.1:$(cat "$dir/secure_port")"
        protocols+=,SECURE:SASL_SSL
    fi
    local advertised=$listeners
    if [ -n "${KAFKA_PROXY_PORT:-}" ]; then
        free_port >"$dir/behind_port"
        listeners+=",BEHIND://127.0.0.1:$(cat "$dir/behind_port")"
        advertised+=",BEHIND://127.0.0.1:$KAFKA_PROXY_PORT"
        protocols+=,BEHIND:PLAINTEXT
    fi
    rm -rf "$dir/data" "$settings"
    cat >"$settings.new" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$control
listeners=$listeners,CONTROLLER://127.0.0.1:$control
advertised.listeners=$advertised
listener.security.protocol.map=$protocols,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
CONF
    if [ -n "$secure" ]; then
        make_keys "$dir"
        cat >>"$settings.new" <<CONF
sasl.enabled.mechanisms=SCRAM-SHA-512
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:custody
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$dir/server.pem
listener.name.secure.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
CONF
        openssl rand -hex 16 >"$dir/password"
        for name in custody custody-ledger custody-agent-orders; do
            scram+=(--add-scram "SCRAM-SHA-512=[name=$name,password=$(cat "$dir/password")]")
        done
    fi
    id=$(perl -MMIME::Base64=encode_base64url -e \
        'open my $f, "<", "/dev/urandom"; read $f, my $b, 16; print encode_base64url($b)')
    # One that begins with a dash would be taken for an option.
    id=A${id:1}
    java -XX:TieredStopAtLevel=1 -cp "$lib/*" kafka.tools.StorageTool format -t "$id" \
        -c "$settings.new" "${scram[@]}" >"$dir/format.log" 2>&1 ||
        fail "the storage of Kafka was not made; see $dir/format.log"
    mv "$settings.new" "$settings"
}

# make_keys DIR: an authority of its own, and a certificate for 127.0.0.1 with its key, in PEM.
make_keys() {
    local dir=$1
    (
        cd "$dir"
        umask 077
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj '/CN=authority of a test' -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=127.0.0.1' \
            -keyout server.key -out server.csr
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
            -extfile server.ext -out server.crt
        cat server.key server.crt ca.pem >server.pem
    ) 2>"$dir/keys.log" || fail "no certificate was made; see $dir/keys.log"
}

acls() {
    local dir=$1
    shift
    java -XX:TieredStopAtLevel=1 -cp "$lib/*" org.apache.kafka.tools.AclCommand \
        --bootstrap-server "127.0.0.1:$(cat "$dir/port")" "$@"
}

# --- stop ------------------------------------------------------------------------------------

stop() {
    local dir=$1 pid end=$((SECONDS + patience)) signal=TERM
    [ -e "$dir/pid" ] || fail "no server was started in $dir"
    pid=$(cat "$dir/pid")
    # PostgreSQL waits for its clients on TERM, and ends their sessions on INT.
    [ -e "$dir/data/PG_VERSION" ] && signal=INT
    if runs "$pid"; then
        kill -s "$signal" "$pid"
    fi
    while runs "$pid"; do
        [ "$SECONDS" -lt "$end" ] || fail "the process $pid does not stop"
        sleep 0.1
    done
    rm -f "$dir/pid"
}

start_all() {
    local name
    for name in postgresql mariadb kafka; do
        if [ -e "$up/$name/pid" ] && runs "$(cat "$up/$name/pid")"; then
            printf 'name=%s pid=%s port=%s (ran already)\n' "$name" "$(cat "$up/$name/pid")" \
                "$(cat "$up/$name/port")"
        else
            start "$name" "$up/$name"
        fi
    done
}

stop_all() {
    local name
    for name in postgresql mariadb kafka; do
        if [ -e "$up/$name/pid" ]; then
            stop "$up/$name"
            printf 'servers.sh: stopped %s\n' "$name"
        fi
    done
}

if [ "${1:-}" = acls ] && [ "$#" -gt 2 ]; then
    acls "${@:2}"
    exit
fi
case "${1:-} $#" in
'install 1') install ;;
'start 3' | 'start 4') start "${@:2}" ;;
'stop 2') stop "$2" ;;
'up 1') start_all ;;
'down 1') stop_all ;;
*)
    sed -n '2,20s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
