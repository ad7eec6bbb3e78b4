import { useState } from "preact/hooks";

import { Moon, Sun } from "./icons";

const KEY = "trunkline.theme";
type Theme = "light" | "dark";

const chosen = localStorage.getItem(KEY);
if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;

/** Follows the system until the user chooses. */
export function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(current);
  const next: Theme = theme === "dark" ? "light" : "dark";
  const change = (): void => {
    document.documentElement.dataset["theme"] = next;
    localStorage.setItem(KEY, next);
    setTheme(next);
  };
  return (
    <button class="icon-button" onClick={change} aria-label={`Use the ${next} theme`} title={`Use the ${next} theme`}>
      {theme === "dark" ? <Sun /> : <Moon />}
    </button>
  );
}

function current(): Theme {
  const theme = document.documentElement.dataset["theme"];
  if (theme === "light" || theme === "dark") return theme;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
