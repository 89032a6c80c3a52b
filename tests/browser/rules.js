// What a page does that keeps people from reading it, one line for each rule: axe-core's rules of WCAG 2 up to 2.2, levels A and AA, and
// contrast where axe-core leaves it to people, the letters in a picture (rule 1.4.3, "Contrast (Minimum)", w3.org/TR/WCAG22).
// What else it leaves to people counts as a fault: nobody looks at a page that a test has passed.
(async () => {
  const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  // Letters in a picture, which are measured below, and a sign with no letter, such as an arrow, beside words that are measured.
  const left = ({ html, any = [] }) => any.some(({ data }) => data?.messageKey === "nonBmp" || (data && html.startsWith("<text ")));
  const found = await axe.run({ runOnly, resultTypes: ["violations", "incomplete"], preload: false, iframes: false, selectors: false });
  const colour = (said) => new axe.commons.color.Color().parseString(said);
  const ground = (at) => {
    const own = colour(getComputedStyle(at).backgroundColor);
    return own.alpha === 1 || !at.parentElement ? own : ground(at.parentElement);
  };
  const letters = [...document.querySelectorAll("svg text")];
  const faint = letters.filter((at) => axe.commons.color.getContrast(ground(at), colour(getComputedStyle(at).fill)) < 4.5);
  return [...found.violations, ...found.incomplete, { id: "color-contrast in a picture", nodes: faint.map((at) => ({ html: at.outerHTML })) }]
    .map(({ id, nodes }) => ({ id, nodes: nodes.filter((one) => !left(one)) }))
    .filter(({ nodes }) => nodes.length)
    .map(({ id, nodes }) => `${id}: ${nodes.length}, the first ${nodes[0].html}`);
})()
