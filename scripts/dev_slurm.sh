#!/usr/bin/env bash
# A real one-node Slurm with accounting and two pretend GPUs, on 127.0.0.1, from Debian's packages:
#
#   scripts/dev_slurm.sh start [folder]    install what is missing, bring it up; already up: says so
#   scripts/dev_slurm.sh stop  [folder]    cancel its jobs, take everything down
#   scripts/dev_slurm.sh env   [folder]    the line to export:  eval "$(scripts/dev_slurm.sh env)"
#
# Root only: munged, slurmctld and slurmd want it. Each start begins with an empty queue and an empty accounting data
# base, whatever a killed run left behind. Ports are 127.0.0.1:PORT to PORT+3 (UORA_SLURM_PORT, default 16817).
set -euo pipefail

ACTION=${1:-}
ROOT=$(realpath -m "${2:-${UORA_SLURM_DIR:-/tmp/uora-slurm}}")
PORT=${UORA_SLURM_PORT:-16817}
PACKAGES=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server)
PROGRAMS=(slurmctld slurmd slurmdbd munged mariadbd mariadb-install-db sbatch sacct)
PARTS=(state spool log db munge gpu)  # the folders this script makes under $ROOT, and the only ones it removes

die() { echo "dev_slurm: $*" >&2; exit 1; }
conf() { echo "$ROOT/slurm.conf"; }

# The daemons of this folder, by what they are and what they were started with (no pid file can be trusted after a kill).
daemons() {
  local pid name
  for pid in $(cd /proc && ls -d [0-9]* 2>/dev/null); do
    name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
    case "$name" in
      munged|mariadbd|slurmdbd|slurmctld|slurmd|slurmstepd) ;;
      *) continue ;;
    esac
    if tr '\0' '\n' 2>/dev/null < "/proc/$pid/environ" | grep -qxF "UORA_SLURM_ROOT=$ROOT"; then
      echo "$pid $name"
    fi
  done
}

up() { [ -f "$(conf)" ] && SLURM_CONF=$(conf) timeout 10 sinfo -h -o %T 2>/dev/null | grep -qE 'idle|mix|alloc'; }

# wait_for <seconds> <what> <command …>: until the command succeeds
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  while [ $SECONDS -lt $end ]; do
    if "$@" >/dev/null 2>"$ROOT/log/last_error"; then return 0; fi
    sleep 0.1
  done
  die "$what did not come up: $(tail -1 "$ROOT/log/last_error") (logs in $ROOT/log)"
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

install_packages() {
  local missing=() program
  for program in "${PROGRAMS[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("$program")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || die "${missing[*]} not found and no apt-get to install them: needs Debian or Ubuntu"
  echo "dev_slurm: installing ${PACKAGES[*]}"
  local log
  log=$(mktemp)
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${PACKAGES[@]}"; } >"$log" 2>&1; then
    tail -5 "$log" >&2
    die "apt-get could not install them; all of its output is in $log"
  fi
  rm -f "$log"
}

write_configuration() {
  local host cpus memory
  host=$(hostname -s)
  cpus=$(nproc)
  memory=$(($(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 - 1024))
  ln -s /dev/null "$ROOT/gpu/gpu0"  # Slurm wants device files, and nothing opens these
  ln -s /dev/zero "$ROOT/gpu/gpu1"
  # cred_expire: a requeued job waits for its old credential to run out, two minutes by default
  cat > "$ROOT/slurm.conf" <<C
ClusterName=onenode
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$ROOT/munge/socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool
SlurmctldPidFile=$ROOT/slurmctld.pid
SlurmdPidFile=$ROOT/slurmd.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 2))
AccountingStoragePass=$ROOT/munge/socket
AccountingStorageTRES=gres/gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SlurmctldTimeout=30
SlurmdTimeout=30
SlurmdParameters=config_overrides
InactiveLimit=0
KillWait=15
MinJobAge=300
MaxArraySize=1001
GresTypes=gpu
DefMemPerCPU=512
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:2 Feature=pretend State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=60 State=UP
PartitionName=gpu Nodes=$host Default=NO MaxTime=60 State=UP
C
  cat > "$ROOT/gres.conf" <<C
AutoDetect=off
NodeName=$host Name=gpu File=$ROOT/gpu/gpu[0-1]
C
  cat > "$ROOT/slurmdbd.conf" <<C
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 2))
SlurmUser=root
LogFile=$ROOT/log/slurmdbd.log
PidFile=$ROOT/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
C
  chmod 600 "$ROOT/slurmdbd.conf"
}

start_munge() {
  chmod 755 "$ROOT/munge"
  (umask 077 && head -c 1024 /dev/urandom > "$ROOT/munge/key")
  munged --key-file="$ROOT/munge/key" --socket="$ROOT/munge/socket" --pid-file="$ROOT/munge/pid" \
    --log-file="$ROOT/munge/log" --seed-file="$ROOT/munge/seed" --force >"$ROOT/log/munged.out" 2>&1 \
    || die "munged did not start; see $ROOT/log/munged.out"
  wait_for 10 munged munge --socket="$ROOT/munge/socket" -n
}

start_database() {
  local db="$ROOT/db"
  chown mysql:mysql "$db"
  mariadb-install-db --no-defaults --user=mysql --datadir="$db" --auth-root-authentication-method=socket --skip-test-db \
    >"$ROOT/log/db-install.log" 2>&1 || die "MariaDB could not make its tables; see $ROOT/log/db-install.log"
  nohup mariadbd --no-defaults --user=mysql --datadir="$db" --socket="$db/sock" --pid-file="$db/pid" \
    --bind-address=127.0.0.1 --port=$((PORT + 3)) --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
    --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=2 >"$ROOT/log/mariadbd.log" 2>&1 </dev/null &
  wait_for 30 MariaDB mariadb-admin --no-defaults --socket="$db/sock" ping
  mariadb --no-defaults --socket="$db/sock" -e "
    create database slurm_acct;
    create user slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm_acct.* to slurm@'127.0.0.1';
    create user slurm@localhost identified by 'slurm'; grant all on slurm_acct.* to slurm@localhost;"
}

start() {
  [ "$(id -u)" = 0 ] || die "a Slurm of one's own has to be started by root (sudo scripts/dev_slurm.sh start)"
  if up; then
    echo "dev_slurm: already up in $ROOT"
    print_environment
    return 0
  fi
  if [ -e "$ROOT" ] && [ ! -f "$ROOT/.dev_slurm" ] && [ -n "$(ls -A "$ROOT")" ]; then
    die "'$ROOT' holds something else; name another folder"
  fi
  take_down  # what a killed run left
  local i
  for i in 0 1 2 3; do
    if port_open $((PORT + i)); then
      die "port $((PORT + i)) is taken, perhaps by another dev_slurm: stop it, or set UORA_SLURM_PORT"
    fi
  done
  install_packages
  mkdir -p "$ROOT"
  touch "$ROOT/.dev_slurm"
  (cd "$ROOT" && rm -rf "${PARTS[@]}" && mkdir "${PARTS[@]}")
  chmod 755 "$ROOT"  # MariaDB runs as a user of its own
  write_configuration
  export UORA_SLURM_ROOT="$ROOT"  # by which `daemons` knows them
  SLURM_CONF=$(conf)
  export SLURM_CONF
  cd /
  start_munge
  start_database
  slurmdbd
  wait_for 30 slurmdbd port_open $((PORT + 2))
  wait_for 30 "the cluster's account" add_cluster
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF"
  wait_for 30 "the node" up
  echo "dev_slurm: up in $ROOT: $(sinfo -h -o '%n %c CPUs, %G, %T' | sort -u)"
  print_environment
}

add_cluster() {
  timeout 10 sacctmgr -n show cluster onenode format=cluster | grep -q onenode || timeout 10 sacctmgr -i add cluster onenode
}

take_down() {
  local name pid wanted
  # in this order: those that depend on others first
  for wanted in slurmd slurmstepd slurmctld slurmdbd mariadbd munged; do
    while read -r pid name; do
      if [ "$name" = "$wanted" ]; then kill "$pid" 2>/dev/null || true; fi
    done < <(daemons)
    for _ in $(seq 100); do
      if ! daemons | grep -q " $wanted\$"; then continue 2; fi
      sleep 0.1
    done
    while read -r pid name; do
      if [ "$name" = "$wanted" ]; then kill -9 "$pid" 2>/dev/null || true; fi
    done < <(daemons)
  done
}

stop() {
  [ "$(id -u)" = 0 ] || die "started by root, so stopped by root (sudo scripts/dev_slurm.sh stop)"
  [ -f "$ROOT/.dev_slurm" ] || { echo "dev_slurm: nothing in $ROOT"; return 0; }
  if up; then
    export SLURM_CONF
    SLURM_CONF=$(conf)
    timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 100); do
      if [ -z "$(timeout 10 squeue -h 2>/dev/null || true)" ]; then break; fi
      sleep 0.2
    done
  fi
  take_down
  (cd "$ROOT" && rm -rf "${PARTS[@]}" ./*.conf ./*.pid .dev_slurm)
  rmdir "$ROOT" 2>/dev/null || true
  echo "dev_slurm: down"
}

print_environment() { echo "export SLURM_CONF=$(conf)"; }

PATH=$PATH:/usr/sbin:/sbin
case "$ACTION" in
  start) start ;;
  stop) stop ;;
  env) print_environment ;;
  *) die "usage: scripts/dev_slurm.sh start|stop|env [folder]" ;;
esac
