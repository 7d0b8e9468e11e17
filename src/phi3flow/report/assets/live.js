// The page that follows a running run: it asks its own server for a newer one, and comes back to the same place.

const LOOK_EVERY_MS = 1000;
const LOOK_AGAIN_MS = 5000;
const PLACE_KEY = "phi3flow-live";

/** Load the newer page where there is one; without a server, say so and look again now and then. */
async function lookForNews() {
  let wait = LOOK_EVERY_MS;
  try {
    const version = Number(await (await fetch("version", { cache: "no-store" })).text());
    if (version !== DATA.live) {
      keepPlace();
      location.reload();
      return;
    }
    showLive("live");
  } catch {
    wait = LOOK_AGAIN_MS;
    showLive("ended");
  }
  setTimeout(lookForNews, wait);
}

function showLive(state) {
  const badge = document.getElementById("live");
  if (badge.textContent !== state) badge.textContent = state;
  badge.classList.toggle("ended", state === "ended");
}

/** Remember what the address does not hold: scrolling, focus, what is unfolded. */
function keepPlace() {
  const { activeElement } = document;
  const place = {
    scroll: scrollY,
    focus: activeElement?.id ?? "",
    inLine: Boolean(activeElement?.closest(".line.open")),
    caret: activeElement === controls.search ? [controls.search.selectionStart, controls.search.selectionEnd] : null,
    unfolded: folds().map(({ open }) => open),
  };
  sessionStorage.setItem(PLACE_KEY, JSON.stringify(place));
}

function returnToPlace() {
  const kept = sessionStorage.getItem(PLACE_KEY);
  sessionStorage.removeItem(PLACE_KEY);
  if (kept === null) return;
  const { scroll, focus, inLine, caret, unfolded } = JSON.parse(kept);
  folds().forEach((fold, k) => { fold.open = unfolded[k] ?? fold.open; });
  if (!inLine) document.activeElement?.blur();
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  if (caret) controls.search.setSelectionRange(...caret);
  scrollTo({ top: scroll, behavior: "instant" });
  draw();
}

const folds = () => [...document.querySelectorAll("main details")];

history.scrollRestoration = "manual";
returnToPlace();
setTimeout(lookForNews, LOOK_EVERY_MS);
