// What can be done with the pictures of a grid: a button names the event, and the picture that it is about.
const EVENTS = ["remove", "keep", "reject", "compare"];
const tell = (button) => {
    const {event, name, reason} = button.dataset;
    if (!EVENTS.includes(event)) return;
    if (event !== "compare") button.closest(".magi-tile").classList.add("leaving");
    trigger(event, {name, reason});
};
element.addEventListener("click", ({target}) => {
    const look = target.closest(".look");
    if (look) look.setAttribute("aria-pressed", look.getAttribute("aria-pressed") !== "true");
    const button = target.closest("[data-event]");
    if (button) tell(button);
});
// On a picture, or anything of it: K keeps, R asks why it is rejected, C compares, and Delete removes a photo.
element.addEventListener("keydown", (press) => {
    const tile = press.target.closest(".magi-tile");
    if (!tile || press.ctrlKey || press.altKey || press.metaKey) return;
    const button = tile.querySelector(`[data-key="${press.key.toLowerCase()}"]:not(:disabled)`);
    if (!button) return;
    press.preventDefault();
    button.click();
    if (button.matches("summary")) tile.querySelector(".reasons button").focus();
});
