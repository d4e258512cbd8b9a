"use strict";
// Shows the filters and hides the rows that they leave out. Without this script every row is shown.
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const rows = Array.from(document.querySelectorAll("#workload-rows > tr[data-stage]"));
  const text = document.getElementById("filter-text");
  const namespace = document.getElementById("filter-namespace");
  const attention = document.getElementById("filter-attention");
  const stages = Array.from(form.querySelectorAll("input[name=stage]"));
  const status = document.getElementById("filter-status");
  const empty = document.getElementById("no-rows");
  const texts = rows.map((row) => row.textContent.toLowerCase());

  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(stages.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    rows.forEach((row, index) => {
      const matches =
        wanted.has(row.dataset.stage) &&
        (namespace.value === "all" || row.dataset.namespace === namespace.value) &&
        (!attention.checked || row.hasAttribute("data-attention")) &&
        words.every((word) => texts[index].includes(word));
      row.hidden = !matches;
      shown += matches ? 1 : 0;
    });
    empty.hidden = shown > 0;
    status.textContent = `Showing ${shown} of ${rows.length} workloads.`;
  };

  const showAll = () => {
    text.value = "";
    namespace.value = "all";
    attention.checked = false;
    for (const box of stages) box.checked = true;
    apply();
  };

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("filter-reset").addEventListener("click", showAll);
  for (const link of document.querySelectorAll("a[data-namespace]")) {
    link.addEventListener("click", () => {
      showAll();
      namespace.value = link.dataset.namespace;
      apply();
    });
  }
  form.hidden = false;
  apply();
})();
