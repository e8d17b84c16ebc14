"use strict";
// Tables sorted by the buttons in their headings; the navigation follows the page.
(() => {
  const value = (row, index) => row.cells[index]?.dataset.sort ?? "";
  const announce = document.getElementById("announce");

  function sort(table, heading, button) {
    const index = heading.cellIndex;
    const ascending = heading.getAttribute("aria-sort") === "ascending";
    const down = heading.getAttribute("aria-sort") === null ? heading.classList.contains("number") : ascending;
    const body = table.tBodies[0];
    const number = heading.classList.contains("number");
    const rows = [...body.rows].map((row, place) => ({ row, place, key: value(row, index) }));
    rows.sort((a, b) => {
      if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "") || a.place - b.place; // missing ones last
      const order = number ? Number(a.key) - Number(b.key) : a.key.localeCompare(b.key, "en", { numeric: true });
      return (down ? -order : order) || a.place - b.place;
    });
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows.map((item) => item.row));
    announce.textContent = `sorted by ${button.textContent.trim()}, ${down ? "descending" : "ascending"}`;
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const button of table.querySelectorAll("thead button")) {
      const heading = button.closest("th");
      button.addEventListener("click", () => sort(table, heading, button));
    }
  }

  // What a link points at is unfolded before the browser scrolls there.
  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target?.closest("details:not([open])"); box; box = box.parentElement.closest("details:not([open])")) box.open = true;
    if (target?.closest("details")) target.scrollIntoView({ block: "center" });
  }
  window.addEventListener("hashchange", unfold);
  if (location.hash) unfold();

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const section of document.querySelectorAll("main > section")) seen.observe(section);
})();
