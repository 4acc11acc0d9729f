// The token goes in a header, so that no address and no log has it; a cookie comes back.
const said = document.getElementById("said");

document.getElementById("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = document.getElementById("token").value.trim();
  said.textContent = "";
  try {
    const answer = await fetch("/session", { headers: { authorization: `Bearer ${token}` } });
    if (answer.ok) location.reload();
    else said.textContent = "This is not the token.";
  } catch {
    said.textContent = "The dashboard does not answer.";
  }
});
