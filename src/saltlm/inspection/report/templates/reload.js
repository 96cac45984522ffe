// Of saltlm watch alone: look whether there is a newer report, and show it where this one stood.
let seen = null;
setInterval(async () => {
  const answer = await fetch("/version", { cache: "no-store" }).catch(() => null);
  const version = answer?.ok ? await answer.text() : seen;
  if (seen !== null && version !== seen) location.reload();
  seen = version;
}, 2000);
