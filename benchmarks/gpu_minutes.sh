#!/bin/sh
# Uses a GPU that is there for minutes:
#
#   sh gpu_minutes.sh FOLDER OUT SECONDS
#
# The parts are FOLDER/*/, in the order of their names: each what `benchmarks.gpu_training export` or
# `benchmarks.gpu_programs --export` wrote, such as FOLDER/1-train and FOLDER/2-measure. A part has
# all the seconds that are left, but a minute for each of those after it; one that fails or hangs
# does not stop the next. It ends with the number of parts that failed.
folder=$1 out=$2 end=$(($(date +%s) + $3)) reserve=60 failed=0
set -- "$folder"/*/run_exported.py
for program in "$@"; do
    shift
    left=$((end - $(date +%s) - reserve * $#))
    [ "$left" -gt 0 ] || left=0 # it still says what it would have done
    echo "$(dirname "$program"): $left seconds"
    timeout -k 5 $((left + 5)) python3 "$program" "$(dirname "$program")" "$out" \
        --seconds="$left" || failed=$((failed + 1))
done
exit "$failed"
