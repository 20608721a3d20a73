"""How the report's page looks."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light;--ink:#1b2430;--soft:#5a6675;--line:#d8dee6;--one:#2f6f9f;--two:#d9730d;--bad:#b3261e}
*{box-sizing:border-box}
body{margin:0;background:#f4f6f8;color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 60px}
h1{margin:0;font-size:28px}
.lead{margin:2px 0;font-size:17px;overflow-wrap:anywhere}
.made{margin:0;color:var(--soft);font-size:13px}
nav{margin:12px 0}
nav a{margin-right:14px;color:var(--one)}
section{margin:18px 0;padding:18px 22px;background:#fff;border:1px solid var(--line);border-radius:8px}
h2{margin:0 0 8px;font-size:21px;overflow-wrap:anywhere}
h3{margin:22px 0 4px;font-size:16px}
p{margin:4px 0}
.findings{margin:10px 0;padding:0;list-style:none}
.findings li{display:flex;gap:10px;margin:6px 0;padding:7px 12px;border-left:5px solid;background:#f8fafb}
.findings b{flex:0 0 42px}
.good{border-color:#2e7d4f!important}.good b{color:#256641}
.note{border-color:#c98a00!important}.note b{color:#845a00}
.bad{border-color:var(--bad)!important}.bad b{color:var(--bad)}
figure{margin:16px 0 0}
figcaption{max-width:760px;color:var(--soft);font-size:13.5px}
figcaption b{color:var(--ink)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:6px 32px}
.scroll{overflow-x:auto}
svg{display:block;max-width:none;font:11px system-ui,sans-serif}
svg text{fill:var(--soft)}
svg .side{font-size:11.5px;fill:var(--ink)}
.bar0{fill:#7fb0d2}
.bar1{fill:var(--two)}
.axis{stroke:var(--soft)}
.empty{fill:#f1f4f7}
.full{fill:#14507c}
svg .light{fill:#fff}svg .dark{fill:var(--ink)}
.covered{fill:#bcdcf2}
.thin{fill:#ffdf80;stroke:#9a6a00;stroke-width:1.5}
.missing{fill:var(--bad);stroke:#5e0f0a;stroke-width:2}
.spare{fill:#fff;stroke:#b9c4d0;stroke-dasharray:3 2}
svg .on-missing{fill:#fff;font-weight:700}
svg .on-thin,svg .on-covered{fill:var(--ink);font-weight:700}
svg .small{font-size:10px;font-weight:400}
.key{padding:0 7px;border-radius:3px;color:var(--ink);white-space:nowrap}
.key.covered{background:#bcdcf2}.key.thin{background:#ffdf80}.key.missing{background:var(--bad);color:#fff}
.key.spare{border:1px dashed #8896a5}.key.bar0{background:#7fb0d2}.key.bar1{background:var(--two)}
table{margin:6px 0;border-collapse:collapse;font-size:14px}
th,td{padding:3px 18px 3px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-weight:500;color:var(--soft)}
td,th{overflow-wrap:anywhere}
.sheet{display:flex;flex-wrap:wrap;gap:8px;margin:6px 0;padding:0;list-style:none}
.sheet li{width:104px;font-size:12px;line-height:1.25;overflow-wrap:anywhere}
.sheet img,.gone{display:block;width:96px;height:96px;object-fit:contain;background:#eef1f4}
.sheet span{display:block}
.sheet small{color:var(--soft)}
@media print{body{background:#fff}section{border:0}}
"""
