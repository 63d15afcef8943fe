#!/usr/bin/env bash
# The nightly run, for cron: new ratings -> tables -> split -> model -> gate -> lists; one run at a time, one log file a night.
#
#     LAKE=/srv/lake SOURCE=/srv/incoming/ratings.csv CONF=/srv/recspark/conf/mine.toml examples/cron/nightly.sh
#
#     LAKE, SOURCE, CONF  where the lake is, the new ratings ({day} in it becomes DAY), the conf file
#     DAY                 the day that the run is for: 2026-11-22; today
#     MODEL, CHAMPION     names of models in the lake: the one that is trained, nightly, and the one that makes lists, recspark-champion
#     STEPS               jobs in their order: pipeline promote recommend
#     SPARK_SUBMIT        the command and its options: .venv/bin/spark-submit
#     LOGS                folder of the log files and of the lock: logs
#     WINDOW              seconds, from the start, within which input that is not there yet is waited for: 14400; 0 waits for nothing
#     TRIES               tries of a job that failed for no reason that it knows: 2
#     PAUSE               seconds between two tries, and between two looks for the input: 60
#     KEEP_DAYS           log files older than this are deleted: 30
#
# Nothing is printed where all went well, so cron mails only what somebody must look at. Exit codes: 0 done, 2 usage or conf,
# 3 data rejected, 4 gate not passed, 5 the input did not come, 75 another run holds the lock, 1 anything else. Whatever it is, what
# the last good night published is still there, and the same command may be given again: every job is idempotent, and a killed
# training resumes.
set -uo pipefail

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

main() {
    local name
    for name in LAKE SOURCE CONF; do
        [ -n "${!name:-}" ] || { echo >&2 "nightly: $name is not set; the first lines of $0 say what there is"; exit 2; }
    done
    day=${DAY:-$(date +%F)}
    logs=${LOGS:-$home/logs}
    mkdir -p "$logs" || exit 1
    log=$logs/nightly-$day.log
    exec 9> "$logs/nightly.lock"
    if ! flock --nonblock 9; then
        echo >&2 "nightly: another run holds $logs/nightly.lock: nothing was started"
        exit 75
    fi
    find "$logs" -name 'nightly-*.log' -mtime "+${KEEP_DAYS:-30}" -delete
    window=${WINDOW:-14400}
    for name in ${STEPS:-pipeline promote recommend}; do
        step "$name" >> "$log" 2>&1 || fail "$name" $?
        window=0  # the first step reads what others bring; what later ones read, steps before them make
    done
}

# Run one job until it ends with a code that another try would not change; returns that code. Its own log lines go to stdout.
step() {
    local code submit settings failed=0 model=${MODEL:-nightly} pause=${PAUSE:-60}
    read -ra submit <<< "${SPARK_SUBMIT:-$home/.venv/bin/spark-submit}"
    settings=(--set "paths.lake=$LAKE" --set "data.source=${SOURCE//'{day}'/$day}")
    case $1 in
        promote) settings+=(--set "promote.candidate=$model") ;;
        recommend) settings+=(--set "model.name=${CHAMPION:-recspark-champion}") ;;
        *) settings+=(--set "model.name=$model") ;;
    esac
    while true; do
        echo "$(date -Is) $1"
        # 9>&-: the lock is this script's, not that of a JVM which outlives it
        "${submit[@]}" "$home/jobs/$1.py" --conf-file "$CONF" "${settings[@]}" 9>&-
        code=$?
        echo "$(date -Is) $1 ended with exit code $code"
        case $code in
            0 | 2 | 3 | 4) return "$code" ;;
            5) ((SECONDS + pause < window)) || return 5 ;;
            *) ((++failed < ${TRIES:-2})) || return 1 ;;
        esac
        sleep "$pause"
    done
}

# Say on stderr, which cron mails, what job $1 ended with $2 for, and end with that code.
fail() {
    local reason
    case $2 in
        2) reason="the conf or the command line is wrong" ;;
        3) reason="the data were rejected: the tables of the last good night stay" ;;
        4) reason="the gate was not passed: the champion and its lists stay" ;;
        5) reason="the input is not there after $SECONDS s: the tables of the last good night stay" ;;
        *) reason="it failed ${TRIES:-2} times" ;;
    esac
    echo >&2 "nightly $day: $1: $reason; the end of $log:"
    tail -n 20 "$log" >&2
    exit "$2"
}

main "$@"
