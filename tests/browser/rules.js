// What a page does that keeps people from reading it, one line for each rule: axe-core's rules of WCAG 2 up to 2.2, levels A and AA.
// Where axe-core leaves contrast to people, as for letters in a picture or an arrow alone, it is measured here: what is written against the
// ground that its elements have, at least 4.5 to 1 (1.4.3, "Contrast (Minimum)", w3.org/TR/WCAG22); a ground that nobody knows is a fault,
// and so is whatever else is left to people, because nobody looks at a page that a test has passed.
(async () => {
  const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const options = { runOnly, resultTypes: ["violations", "incomplete"], preload: false, selectors: false, elementRef: true };
  const { violations, incomplete } = await axe.run(options);
  const colour = (said) => new axe.commons.color.Color().parseString(said);
  const ground = (at) => {
    const { backgroundColor, backgroundImage } = getComputedStyle(at);
    const own = colour(backgroundColor);
    if (backgroundImage !== "none" || (own.alpha > 0 && own.alpha < 1)) return null;
    return own.alpha ? own : at.parentElement && ground(at.parentElement);
  };
  const faint = (at) => {
    const { color, fill } = getComputedStyle(at);
    const on = ground(at);
    return !on || axe.commons.color.getContrast(on, colour(at.ownerSVGElement ? fill : color)) < 4.5;
  };
  const left = incomplete.filter(({ id }) => id === "color-contrast").flatMap(({ nodes }) => nodes.map(({ element }) => element));
  const measured = [...new Set([...left, ...document.querySelectorAll("svg text")])].filter(faint);
  return [
    ...violations,
    ...incomplete.filter(({ id }) => id !== "color-contrast"),
    { id: "color-contrast as measured", nodes: measured.map((at) => ({ html: at.outerHTML })) },
  ]
    .filter(({ nodes }) => nodes.length)
    .map(({ id, nodes }) => `${id}: ${nodes.length}, the first ${nodes[0].html}`);
})()
