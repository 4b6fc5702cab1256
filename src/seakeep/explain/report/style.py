"""How a report looks: on a screen by day and by night, on a phone, and on paper."""

LIGHT = """
--bg:#fff;--raised:#f6f7f9;--ink:#1a2230;--muted:#566172;--rule:#d5dae1;--grid:#e4e8ed;
--held:#0b6e3c;--held-bg:#e6f4ec;--broken:#b3202a;--broken-bg:#fdecec;
--fault:#e8a21833;--fault-edge:#9a5c00;--limit:#b3202a;--link:#0a5aa6;
--c0:#0a66b7;--c1:#b84a00;--c2:#0a7a57;--c3:#8242ab;--c4:#a8275a;--c5:#6b6100;
"""
DARK = """
--bg:#12161d;--raised:#1b212b;--ink:#e6eaf0;--muted:#9da9b8;--rule:#3a4453;--grid:#29313d;
--held:#5fd598;--held-bg:#15301f;--broken:#ff8d8d;--broken-bg:#3a1a1d;
--fault:#e8a2182e;--fault-edge:#e0a03c;--limit:#ff8d8d;--link:#7fbcff;
--c0:#62b1ff;--c1:#ff9f55;--c2:#45d0a2;--c3:#cb9ff3;--c4:#ff86ae;--c5:#d9cd52;
"""

_DASHES = ("none", "9 4", "2 4", "12 4 2 4")
_LINES = "".join(
    f".s{index}{{--c:var(--c{index % 6});--d:{_DASHES[index % 4]}}}\n" for index in range(12)
)

_PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;color-scheme:light dark}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main,header,footer{max-width:68rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
footer{padding-bottom:3rem;color:var(--muted);font-size:.875rem}
a{color:var(--link)}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.5rem;margin:2.5rem 0 .5rem;padding-top:1rem;border-top:2px solid var(--rule);
display:flex;flex-wrap:wrap;gap:.25rem .75rem;align-items:center}
h3{font-size:1.15rem;margin:2rem 0 .25rem}
h4{font-size:1rem;margin:1.5rem 0 .25rem;color:var(--muted)}
h5{font-size:1rem;margin:0}
p{margin:.5rem 0;max-width:46rem}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--raised);border:1px solid var(--rule);border-radius:6px;padding:.6rem .9rem;
overflow-x:auto;white-space:pre-wrap}
.note,.quiet{color:var(--muted);font-size:.9rem}
.lead{font-size:1.1rem}
.badge{display:inline-block;white-space:nowrap;font-size:.85rem;font-weight:600;line-height:1.4;
padding:.1rem .55rem;border-radius:1rem;border:1px solid currentColor}
.badge.held{color:var(--held);background:var(--held-bg)}
.badge.broken{color:var(--broken);background:var(--broken-bg)}
.headline{font-size:1.1rem;padding:.7rem 1rem;border-left:5px solid var(--rule);
background:var(--raised);max-width:none}
.headline.held{border-color:var(--held);background:var(--held-bg)}
.headline.broken{border-color:var(--broken);background:var(--broken-bg)}
.alarm{border:2px solid var(--broken);border-radius:6px;padding:.25rem 1rem;margin:1rem 0}
.key-figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem;
margin:1rem 0}
.key-figures div{background:var(--raised);border:1px solid var(--rule);border-radius:6px;
padding:.5rem .75rem}
.key-figures dt{color:var(--muted);font-size:.8rem}
.key-figures dd{margin:0;font-weight:600}
.faults{margin:.5rem 0;padding-left:1.5rem}
.scroll{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;font-weight:600;padding:.25rem 0}
caption span{font-weight:400;color:var(--muted)}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--rule);
overflow-wrap:normal}
thead th{color:var(--muted);font-weight:600;font-size:.82rem;vertical-align:bottom}
tbody th{font-weight:600}
.n{text-align:right;white-space:nowrap}
thead .n{white-space:normal}
.verdicts td,.verdicts th{min-width:6rem}
details{margin:.75rem 0}
summary{cursor:pointer;color:var(--link);font-weight:600}
figure{margin:0}
"""

_PLOTS = """
.timeline{--left:4.6rem}
.panel{margin:.9rem 0 1.1rem;--left:4.6rem;break-inside:avoid}
figcaption{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.85rem;margin-bottom:.5rem}
.keys{display:flex;flex-wrap:wrap;gap:.1rem .9rem;color:var(--muted)}
.entry{display:inline-flex;align-items:center;gap:.35rem;white-space:nowrap}
.key{width:28px;height:10px;flex:none}
.plot{position:relative;margin-left:var(--left);padding-bottom:1.3rem}
.canvas{display:block;width:100%;height:7.5rem;overflow:visible}
.pairs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:0 1.5rem}
.tall .canvas{height:14rem}
.ys span{position:absolute;right:100%;margin-right:.45rem;transform:translateY(-50%);
white-space:nowrap;font-size:.72rem;color:var(--muted)}
.plot .ys{position:absolute;left:0;top:0;height:calc(100% - 1.3rem);width:0}
.xs{position:relative;height:1.2rem}
.plot .xs{position:absolute;left:0;right:0;bottom:0}
.xs span{position:absolute;transform:translateX(-50%);white-space:nowrap;font-size:.72rem;
color:var(--muted);top:.15rem}
.xs .begin{transform:none}
.xs .end{transform:translateX(-100%)}
.strip .xs{margin-left:var(--left)}
.row{display:flex;align-items:center;height:1.5rem;border-bottom:1px solid var(--grid)}
.row-name{width:var(--left);flex:none;font-size:.75rem;color:var(--muted);padding-right:.4rem}
.bars,.ticks{position:relative;flex:1;min-width:0;height:100%;display:block;overflow:hidden}
.bar{position:absolute;top:.15rem;bottom:.15rem;background:var(--fault);
border:solid var(--fault-edge);border-width:0 2px;min-width:3px}
.bar-text{position:absolute;top:.12rem;padding:0 .45rem;font-size:.75rem;white-space:nowrap}
svg{fill:none}
.canvas path,.ticks path,.key path{vector-effect:non-scaling-stroke}
.grid{stroke:var(--grid);stroke-width:1}
.line{stroke:var(--c);stroke-dasharray:var(--d);stroke-width:2;stroke-linejoin:round;
stroke-linecap:butt}
.band{fill:var(--c);opacity:.17}
.limit{stroke:var(--limit);stroke-width:1.5;stroke-dasharray:4 3}
.fault{fill:var(--fault)}
.fault-edge{stroke:var(--fault-edge);stroke-width:1}
.tick{stroke:var(--ink);stroke-width:1.5;opacity:.75}
.failed{--c:var(--c4);--d:none}
.timed-out{--c:var(--c1);--d:9 4}
.rejected{--c:var(--c3);--d:2 4}
.diagram{display:block;width:100%;height:auto;font-family:inherit}
.box{fill:var(--raised);stroke:var(--muted);stroke-width:1.2}
.box.source{fill:var(--bg);stroke-dasharray:4 3}
.arrow{stroke:var(--muted);stroke-width:1.5}
.head{fill:var(--muted)}
.diagram text{fill:var(--ink);font-size:13px}
.diagram .name{font-weight:600;font-size:15px}
.diagram .detail,.diagram .label{fill:var(--muted)}
.diagram .label{stroke:var(--bg);stroke-width:4;paint-order:stroke}
.diagram .share{fill:var(--ink)}
"""

_STORY = """
.story{list-style:none;padding:0;margin:1rem 0}
.phase{border-left:3px solid var(--rule);padding:0 0 1rem 1rem;break-inside:auto}
.phase h5 .when{color:var(--muted);font-weight:400;margin-right:.4rem}
.digest{color:var(--muted);font-size:.9rem}
.phase ul{list-style:none;padding:0;margin:.4rem 0}
.phase li{display:flex;gap:.6rem;padding:.15rem 0;font-size:.92rem}
.phase li .when{flex:none;width:4.6rem;text-align:right;color:var(--muted)}
.who{flex:none;width:5.6rem;font-weight:600}
.who.fault,.who.heal{color:var(--fault-edge)}
.said{min-width:0}
.more{display:block;color:var(--muted)}
.interval{display:block;color:var(--muted);font-weight:400;font-size:.85em}
.contents{padding-left:1.2rem}
.words dt{font-weight:600;margin-top:.6rem}
.words dd{margin:0;max-width:46rem}
.better{color:var(--held)}
.worse{color:var(--broken)}
"""

_NARROW = """
@media (max-width:40rem){
main,header,footer{padding-left:.8rem;padding-right:.8rem}
.panel,.timeline{--left:3.6rem}
.row-name{font-size:.64rem;white-space:nowrap;padding-right:.2rem}
.phase{padding-left:.6rem}
.phase li{flex-wrap:wrap;gap:0 .6rem;padding:.3rem 0}
.phase li .when{width:auto;text-align:left}
.who{width:auto}
.said{flex-basis:100%}
.xs span:nth-child(even){display:none}
}
"""

_PAPER = """
@media print{
@page{margin:14mm}
body{font-size:10pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}
main,header,footer{max-width:none;padding:0}
section.scenario{break-before:page}
h1{font-size:18pt}
h2{font-size:15pt;border:0;margin:0;padding:0}
h3{font-size:12pt;margin-top:1rem}
.headline,.lead{font-size:11pt}
.badge{font-size:8pt}
.panel{margin:.5rem 0 .6rem}
.pairs{grid-template-columns:1fr 1fr}
.key-figures{grid-template-columns:repeat(5,1fr)}
h2,h3,h4,h5,caption,figcaption,h3+.note,.digest{break-after:avoid}
thead{break-after:avoid}
tr,.headline,.key-figures,.row,.phase li{break-inside:avoid}
.scroll{overflow:visible}
.canvas{height:5rem}
.tall .canvas{height:9rem}
.opens-in-print::details-content{content-visibility:visible;display:block}
table,.note,.phase li,.digest{font-size:8.5pt}
th,td{padding:.2rem .35rem}
nav{break-inside:avoid}
}
"""

STYLE = (
    f":root{{{LIGHT}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{DARK}}}}}\n"
    + _PAGE
    + _PLOTS
    + _LINES
    + _STORY
    + _NARROW
    + _PAPER
)
