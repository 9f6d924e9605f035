// Mends what the keyboard and a screen reader stumble over in Gradio's own parts, whenever the page has changed.
() => {
    const all = (selector, root = document) => root.querySelectorAll(selector);
    const page = document.documentElement;
    const mend = () => {
        // Gradio names the browser's language, also where the page has no translation into it.
        if (page.lang !== "ja") page.lang = "en";
        // Each radio button is a group of its own, so that arrow keys do nothing, and no group has a name.
        for (const group of all("fieldset")) {
            group.setAttribute("aria-label", group.querySelector("[data-testid=block-info]").textContent);
            for (const choice of all("[type=radio]", group)) choice.name = group.id;
        }
        // An accordion does not tell whether it is open.
        for (const fold of all("button.label-wrap")) fold.setAttribute("aria-expanded", fold.classList.contains("open"));
        // The button to add photos to some stands within another one.
        for (const outer of all("button:has(button)")) {
            outer.setAttribute("role", "group");
            outer.tabIndex = -1;
        }
        // An empty gallery has a name, but nothing says what it is.
        for (const frame of all(".empty[aria-label]")) frame.setAttribute("role", "img");
    };
    new MutationObserver(mend).observe(document.body, {subtree: true, childList: true, attributeFilter: ["class"]});
    mend();
}
