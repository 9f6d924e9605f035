// Shows the pair that is chosen, and goes on to the next by itself until the visitor chooses, or if they want no motion.
const SECONDS = 2.5;
const all = (selector) => [...element.querySelectorAll(selector)];
const choices = (role) => all(`input[data-role=${role}]`);
const chosen = (role) => choices(role).find((choice) => choice.checked)?.value;
let timer;

const show = () => {
    const person = chosen("person"), look = chosen("style");
    for (const {dataset, classList} of all(".stage img"))
        classList.toggle("shown", (dataset.person ?? person) === person && (dataset.style ?? look) === look);
    for (const line of all(".stage [data-score]"))
        line.hidden = line.dataset.person !== person || line.dataset.style !== look;
};
const next = (role) => {
    const those = choices(role), place = those.findIndex((choice) => choice.checked);
    those[(place + 1) % those.length].checked = true;
    return place + 1 === those.length;
};
const play = (on) => {
    clearInterval(timer);
    if (on) timer = setInterval(() => {
        if (!element.isConnected) return clearInterval(timer);
        next("person") && next("style");
        show();
    }, SECONDS * 1000);
    for (const button of all(".pause")) button.setAttribute("aria-pressed", !on);
};
element.addEventListener("click", ({target}) => {
    if (target.matches("input")) { play(false); show(); }  // arrow keys click, too, and so does who chooses it again
    const button = target.closest(".pause");
    if (button) play(button.getAttribute("aria-pressed") === "true");
});
play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
show();
