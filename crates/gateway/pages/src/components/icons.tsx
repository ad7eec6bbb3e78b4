import type { ComponentChildren } from "preact";

function Icon({ children, size = 18 }: { children: ComponentChildren; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const Send = () => <Icon><path d="M10 16V4M4.8 9.2 10 4l5.2 5.2" /></Icon>;
export const Plus = () => <Icon size={16}><path d="M10 4.5v11M4.5 10h11" /></Icon>;
export const Menu = () => <Icon size={20}><path d="M3.5 6h13M3.5 10h13M3.5 14h9" /></Icon>;
export const Close = () => <Icon size={16}><path d="m5 5 10 10M15 5 5 15" /></Icon>;
export const People = () => (
  <Icon size={20}>
    <circle cx="7.5" cy="7" r="3" />
    <path d="M2 16.5c0-2.800 2.5-4.5 5.5-4.5s5.5 1.700 5.5 4.5M13 4.300a3 3 0 0 1 0 5.400M15 12.400c1.800.6 3 2 3 4.100" />
  </Icon>
);
export const Leave = () => <Icon><path d="M8 3.5H5a1.5 1.5 0 0 0-1.5 1.5v10A1.5 1.5 0 0 0 5 16.5h3M13 13.5l3.5-3.5L13 6.5M16.5 10H8" /></Icon>;
export const Sent = () => <Icon size={13}><path d="m4 10.5 4 4 8-9" /></Icon>;
export const Pending = () => <Icon size={13}><circle cx="10" cy="10" r="7" /><path d="M10 6v4l2.5 1.5" /></Icon>;
export const Warning = () => <Icon size={16}><circle cx="10" cy="10" r="7.5" /><path d="M10 6v4.5M10 13.700v.01" /></Icon>;
export const Sun = () => (
  <Icon>
    <circle cx="10" cy="10" r="3.5" />
    <path d="M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.300 4.300l1.100 1.100M14.6 14.6l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100" />
  </Icon>
);
export const Moon = () => <Icon><path d="M16.5 11.800A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.300 8.300Z" /></Icon>;
