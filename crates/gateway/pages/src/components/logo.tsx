/** Lines of two exchanges, joined by a trunk. */
export function Logo({ size = 28 }: { size?: number }) {
  return (
    <svg class="logo" width={size} height={size} viewBox="0 0 32 32" fill="none" stroke-linecap="round" aria-hidden="true">
      <rect class="logo-plate" width="32" height="32" rx="8" />
      <g class="logo-lines" stroke-width="1.4">
        <path d="M6.5 8.5C11.5 8.5 9 16 13 16M6.5 16H13M6.5 23.5C11.5 23.5 9 16 13 16" />
        <path d="M25.5 8.5C20.5 8.5 23 16 19 16M25.5 16H19M25.5 23.5C20.5 23.5 23 16 19 16" />
      </g>
      <path class="logo-trunk" d="M12.8 16H19.2" stroke-width="3.2" />
      <g fill="#fff">
        {[8.5, 16, 23.5].flatMap((y) => [6.5, 25.5].map((x) => <circle key={`${x}:${y}`} cx={x} cy={y} r="2" />))}
      </g>
    </svg>
  );
}
