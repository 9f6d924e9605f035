// What can be done with the pictures of a grid: a button names the event, and the picture that it is about.
const EVENTS = ["remove", "paint", "keep", "reject", "compare"];
const tiles = () => [...element.querySelectorAll(".magi-tile")];
let left = null; // the place of the tile whose button was pressed last, until the grid has changed

element.addEventListener("click", ({target}) => {
    const look = target.closest(".look");
    if (look) look.setAttribute("aria-pressed", look.getAttribute("aria-pressed") !== "true");
    const button = target.closest("[data-event]");
    if (!button || !EVENTS.includes(button.dataset.event)) return;
    const {event, name, reason} = button.dataset;
    if (event !== "compare" && event !== "paint") left = tiles().indexOf(button.closest(".magi-tile"));
    trigger(event, {name, reason});
});

// On a picture, or anything of it: K keeps, R asks why it is rejected, C compares; Delete removes a photo, and P paints over it.
element.addEventListener("keydown", (press) => {
    const tile = press.target.closest(".magi-tile");
    if (!tile || press.ctrlKey || press.altKey || press.metaKey) return;
    const key = press.key.toLowerCase();
    const button = [...tile.querySelectorAll("[data-key]")].find((found) => found.dataset.key === key);
    if (!button) return;
    press.preventDefault();
    button.click();
    if (button.matches("summary")) tile.querySelector(".reasons button").focus();
});

// Whoever goes by keyboard stays where they were, though the button that they pressed is gone.
watch("value", () => {
    if (left === null) return;
    const there = tiles();
    if (there.length) there[Math.min(left, there.length - 1)].querySelector(".look, button").focus({preventScroll: true});
    left = null;
});
