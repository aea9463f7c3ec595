#!/usr/bin/env bash
# Opens a page of the example `report` in headless Chromium and fails where it lacks what it is to have, its script has
# an error, or a request leaves it. Skipped (status 77) without Chromium.
#
#     tests/report/chromium.sh PAGE [SCREENSHOTS]
#
# PAGE is an index.html; in the folder SCREENSHOTS it leaves it as on a desktop, on a telephone, in the dark and on paper.
set -euo pipefail

page=$(realpath -- "${1:?usage: tests/report/chromium.sh PAGE [SCREENSHOTS]}")
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "skipped: there is no Chromium"
    exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
shots=${2:-$scratch/shots}
mkdir -p "$shots"
failed=0

# A profile of its own, and a network that answers nothing.
browse() {
    timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" \
        --host-resolver-rules="MAP * ~NOTFOUND" --enable-logging=stderr --hide-scrollbars "$@" "file://$page"
}

check() {
    local name=$1
    shift
    if "$@"; then echo "ok      $name"; else echo "FAILED  $name"; failed=1; fi
}

browse --dump-dom --log-net-log="$scratch/net.json" >"$scratch/dom.html" 2>"$scratch/log.txt"
has() { grep -q -- "$1" "$scratch/dom.html"; }
check 'the script has run: filters are shown' has ' settings shown</output>'
check 'tables have headings that can be sorted' has 'aria-sort="none"><button'
check 'there are charts' has '<figure class="chart">'
check 'there is a configuration with a command for each run' has '<dt>seed '
check 'no figure lacks a name' test "$(grep -o '<svg role="img"' "$scratch/dom.html" | wc -l)" -le \
    "$(grep -o '<title>' "$scratch/dom.html" | wc -l)"
check 'no number is missing' test -z "$(grep -oE '(NaN|Infinity|undefined)[ "<]' "$scratch/dom.html" | head -n 1)"
check 'the console has no message' test -z "$(grep CONSOLE "$scratch/log.txt")"
# Chromium itself asks for its components; the page must ask for nothing but its own file.
check 'no request leaves the page' python3 - "$scratch/net.json" "$page" <<'PY'
import json, sys
log = json.load(open(sys.argv[1]))
urls = {event["params"]["url"] for event in log["events"] if "url" in event.get("params", {})}
own = ("file://", "data:", "chrome", "devtools:", "about:")
google = ("google.com/", "googleapis.com/", "gvt1.com/")
left = sorted(url for url in urls if not url.startswith(own) and not any(host in url for host in google))
print("".join(f"        {url}\n" for url in left), end="")
sys.exit(bool(left))
PY

# A copy with a visitor who sorts the first table by its last column, filters by the first method, and prints.
{
    cat -- "$page"
    cat <<'HTML'
<script>
const table = document.querySelector("table"), heads = table.querySelectorAll("th button");
const button = heads[heads.length - 1], column = button.closest("th").cellIndex;
const values = () => [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value)
  .filter((value) => value !== undefined).map(Number);
const sorted = (sign) => values().every((value, at, all) => at === 0 || sign * (value - all[at - 1]) >= 0);
const told = [];
const tell = (what, holds) => told.push(`${what}: ${holds ? "yes" : "no"}`);
button.click();
tell("ascending", sorted(1) && button.closest("th").getAttribute("aria-sort") === "ascending");
button.click();
tell("descending", sorted(-1) && button.closest("th").getAttribute("aria-sort") === "descending");
const select = document.querySelector("select[name=method]");
select.value = select.options[1].value;
select.dispatchEvent(new Event("change", { bubbles: true }));
const left = [...document.querySelectorAll("tr[data-method]:not(.off)")];
tell("filtered", left.length > 0 && left.every((row) => row.dataset.method === select.value));
const groups = new Set(left.map((row) => row.dataset.group));
tell("figures follow", [...document.querySelectorAll("[data-group]:not(.off)")].every((part) => groups.has(part.dataset.group)));
dispatchEvent(new Event("beforeprint"));
tell("opened for print", document.querySelectorAll("details:not([open])").length === 0);
document.title = told.join(", ");
</script>
HTML
} >"$scratch/visited.html"
timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" --dump-dom \
    "file://$scratch/visited.html" 2>/dev/null | grep -o '<title>ascending[^<]*' >"$scratch/told.txt" || true
cat "$scratch/told.txt"
check 'sorting, filtering and printing work' test "$(grep -o ': yes' "$scratch/told.txt" | wc -l)" -eq 5

opens() {
    local started
    started=$(date +%s%N)
    timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" --window-size=1280,2000 \
        --screenshot="$scratch/timed.png" "$1" 2>/dev/null
    echo $((($(date +%s%N) - started) / 1000000))
}
empty=$(opens about:blank)
whole=$(opens "file://$page")
check "the page opens within 3 s ($((whole - empty)) ms after the browser's $empty ms)" test $((whole - empty)) -lt 3000
browse --window-size=1280,4000 --screenshot="$shots/desktop.png" 2>/dev/null
check "the page is below 20 MB ($(($(stat -c %s "$page") / 1024)) KiB)" test "$(stat -c %s "$page")" -lt 20000000
# A window cannot be as narrow as a telephone, a frame can.
printf '<!doctype html><body style="margin:0"><iframe style="border:0" width="390" height="4000" src="file://%s"></iframe>' \
    "$page" >"$scratch/telephone.html"
timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" --hide-scrollbars \
    --allow-file-access-from-files --window-size=500,4000 --screenshot="$shots/telephone.png" \
    "file://$scratch/telephone.html" 2>/dev/null
browse --window-size=1280,4000 --blink-settings=preferredColorScheme=0 --screenshot="$shots/dark.png" 2>/dev/null
browse --print-to-pdf="$shots/paper.pdf" --no-pdf-header-footer 2>/dev/null
exit "$failed"
