#!/usr/bin/env bash
# The tests on other machines than this one: threads, kernels, time zone, locale, permissions, paths, load, order.
#
#   tests/portability.sh                                all cases on all tests: two hours and more on two cores
#   tests/portability.sh timezone order-random          these cases
#   tests/portability.sh path -- tests/cache -k lease   this case, on what these pytest arguments choose
#   tests/portability.sh --list                         names of all cases
#
# Needs .venv (`make setup`; PYTHON= names another interpreter). TEST_JOBS is the number of test processes, as for make,
# TEST_ORDER the seed of order-random, KILL_AFTER the seconds before leftovers kills its first run. Logs go to a new
# folder below TMPDIR, which is kept if a case fails.
# A case that this machine can't offer is reported as such. Exit status: 1 if one failed, 2 for a case that isn't known.
set -uo pipefail

repository="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-$repository/.venv/bin/python}"
checkout="$repository" # what is tested; some cases copy it
arguments=()

run_tests() { # run_tests NAME=value ...: pytest on the checkout with these variables
    (
        cd "$checkout" && env OMP_NUM_THREADS=1 PYTHONPATH="$checkout" TMPDIR="$place/tmp" "$@" \
            "$python" -m pytest -n "${TEST_JOBS:-auto}" --maxprocesses 8 --dist loadfile "${plugins[@]}" "${arguments[@]}"
    )
}

copy_to() { # copy_to FOLDER: test a copy of the checkout there, without what git ignores
    mkdir -p "$1" &&
        (cd "$repository" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$1") &&
        checkout="$1"
}

absent() { # absent REASON: this machine doesn't have what the case needs
    echo "$1" >"$place/absent"
}

# Cases. A process of its own runs each; `place` is a new folder for it.
case_threads_1() { run_tests OMP_NUM_THREADS=1; }
case_threads_2() { run_tests OMP_NUM_THREADS=2; }
case_threads_4() { run_tests OMP_NUM_THREADS=4; }
case_kernels_avx2() { run_tests ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2; }
case_kernels_plain() { run_tests ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Prescott; }
case_timezone() { run_tests TZ=Pacific/Kiritimati; } # 14 hours before UTC
case_locale_c() { run_tests LC_ALL=C; }
case_locale_utf8() { run_tests LC_ALL=C.UTF-8; }
case_locale_ascii() { run_tests LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0; } # as any that isn't UTF-8
case_locale_turkish() {
    if locale -a 2>/dev/null | grep -qix 'tr_TR\.utf-\?8'; then
        run_tests LC_ALL=tr_TR.UTF-8
    else
        absent "no locale tr_TR.UTF-8: apt-get install locales-all"
    fi
}
case_umask() { umask 077 && run_tests; }
case_narrow() { run_tests COLUMNS=40; }
case_home() { # not even root can write there
    if [ -d /proc/self ]; then run_tests XDG_CACHE_HOME= XDG_CONFIG_HOME= HOME=/proc/home; else absent "no /proc"; fi
}
case_path() { copy_to "$place/ein Ort für Tests" && run_tests TMPDIR="$place/vorläufige Dateien"; }
case_load() {
    if ! taskset -cp 0,1 $BASHPID; then absent "no taskset, or no two cores" && return; fi
    busy=()
    trap 'kill "${busy[@]}"' EXIT
    for _ in {1..10}; do
        "$python" -c 'while True: pass' &
        busy+=($!)
    done
    run_tests
}
case_leftovers() { # of a run that was killed, and of one that came to its end
    copy_to "$place/checkout" || return 1
    set -m # what runs in the background is a process group of its own
    run_tests &
    set +m
    sleep "${KILL_AFTER:-30}" && kill -KILL -- "-$!"
    wait $!
    run_tests && run_tests
}
case_order_reverse() { plugins=(-p tests.order) && run_tests TEST_ORDER=reverse; }
case_order_random() {
    local seed="${TEST_ORDER:-$RANDOM}"
    echo "again: TEST_ORDER=$seed tests/portability.sh order-random"
    plugins=(-p tests.order) && run_tests TEST_ORDER="$seed"
}

names=()
for name in $(declare -F | sed -n 's/^declare -f case_//p'); do names+=("${name//_/-}"); done
chosen=()
while [ $# -gt 0 ]; do
    case "$1" in
    --) shift && arguments=("$@") && break ;;
    --list) printf '%s\n' "${names[@]}" && exit 0 ;;
    *)
        if [[ " ${names[*]} " != *" $1 "* ]]; then
            echo "error: no case $1; there are: ${names[*]}" >&2
            exit 2
        fi
        chosen+=("$1")
        ;;
    esac
    shift
done
[ ${#chosen[@]} -gt 0 ] || chosen=("${names[@]}")
[ -x "$python" ] || { echo "error: no interpreter $python: make setup" >&2 && exit 2; }

scratch="$(mktemp -d)"
failed=0 summary=()
for name in "${chosen[@]}"; do
    place="$scratch/$name" log="$scratch/$name.log" plugins=()
    mkdir -p "$place/tmp" "$place/vorläufige Dateien"
    echo "== $name"
    begin=$SECONDS
    ("case_${name//-/_}") >"$log" 2>&1
    status=$?
    took="$((SECONDS - begin)) s"
    if [ -e "$place/absent" ]; then
        summary+=("$name: not run, $(cat "$place/absent")")
    elif [ $status -eq 0 ]; then
        summary+=("$name: passed in $took, $(tail -n 1 "$log")")
        rm -rf "$place"
    else
        failed=1
        summary+=("$name: FAILED in $took, $(tail -n 1 "$log"); log: $log")
        grep -E '^(FAILED|ERROR)' "$log" || tail -n 20 "$log"
    fi
    echo "${summary[-1]}"
done
printf '\nsummary\n' && printf '  %s\n' "${summary[@]}"
[ $failed -eq 1 ] || rm -rf "$scratch"
exit $failed
