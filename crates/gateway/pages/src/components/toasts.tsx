import type { Toast } from "../state";
import { Close, Warning } from "./icons";

export function Toasts({ toasts, onDismiss }: { toasts: readonly Toast[]; onDismiss(key: number): void }) {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.map(({ key, tone, text }) => (
        <div key={key} class={`toast ${tone}`}>
          <Warning />
          <span>{text}</span>
          <button class="icon-button" onClick={() => onDismiss(key)} aria-label="Dismiss">
            <Close />
          </button>
        </div>
      ))}
    </div>
  );
}
