#include "trace_page.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sd::sim {

namespace {

constexpr std::size_t most_marks = 200'000;  // the last ones, where the failure is

constexpr const char* page_head = R"(<!doctype html><meta charset="utf-8"><title>sheepsim</title>
<style>
body{font:13px sans-serif;margin:0;display:flex;flex-direction:column;height:100vh}
header{padding:6px 10px;background:#f2f2f2;border-bottom:1px solid #bbb}
#view{flex:1;position:relative;overflow:hidden}canvas{position:absolute;inset:0}
#tip{position:absolute;background:#fffbe0;border:1px solid #aa8;padding:3px 6px;pointer-events:none;display:none;max-width:60em;white-space:pre-wrap}
</style><header><b id="title"></b> <span id="result"></span><br>
show <input id="filter" size="40" placeholder="words, e.g. op 17, node1, faults, sync"> <label><input type="checkbox" id="net" checked> bytes between machines</label>
<span id="where"></span> wheel: move, with Ctrl: zoom; drag: move; the last event is where the run ended</header>
<div id="view"><canvas id="c"></canvas><div id="tip"></div></div><script>const data=)";

constexpr const char* page_script = R"(;
const c=document.getElementById('c'),g=c.getContext('2d'),tip=document.getElementById('tip'),$=i=>document.getElementById(i);
$('title').textContent=data.title;$('result').textContent=data.result;
let end=data.marks.length?data.marks[data.marks.length-1][0]:1,span=Math.min(end,2e8)||1,top0=Math.max(0,end-span*0.9),words='';
const shown=m=>!words||(data.lanes[m[1]]+' '+m[2]).toLowerCase().includes(words);
const x=l=>90+l*(c.width-180)/Math.max(1,data.lanes.length-1),y=t=>30+(t-top0)/span*(c.height-50);
const color=t=>/fault|kill|power|cut|partition|paused/.test(t)?'#d00':/failed|gives|lost|error/.test(t)?'#d70':/sync/.test(t)?'#07a':/disk/.test(t)?'#9bb':/phase|epoch|lead/.test(t)?'#708':'#282';
function first(list,t){let a=0,b=list.length;while(a<b){const m=a+b>>1;list[m][0]<t?a=m+1:b=m}return a}
function draw(){c.width=$('view').clientWidth;c.height=$('view').clientHeight;g.font='12px sans-serif';g.clearRect(0,0,c.width,c.height);
data.lanes.forEach((l,i)=>{g.fillStyle='#000';g.fillText(l,x(i)-20,14);g.strokeStyle='#ddd';g.beginPath();g.moveTo(x(i),20);g.lineTo(x(i),c.height);g.stroke()});
g.fillStyle='#666';for(let k=0;k<=10;k++){const t=top0+span*k/10;g.fillText((t/1e6).toFixed(3)+' ms',2,y(t))}
if($('net').checked&&!words){g.strokeStyle='rgba(60,90,200,.35)';let n=0;for(let i=first(data.messages,top0-5e6);i<data.messages.length&&n<4000;i++){const m=data.messages[i];if(m[0]>top0+span)break;
g.beginPath();g.moveTo(x(m[2]),y(m[0]));g.lineTo(x(m[3]),y(m[1]));g.stroke();n++}}
let n=0,lastY={};for(let i=first(data.marks,top0);i<data.marks.length&&n<6000;i++){const m=data.marks[i];if(m[0]>top0+span)break;if(!shown(m))continue;n++;
g.fillStyle=color(data.lanes[m[1]]+m[2]);g.beginPath();g.arc(x(m[1]),y(m[0]),3,0,7);g.fill();
if(y(m[0])-(lastY[m[1]]||0)>12){g.fillText(m[2].slice(0,Math.max(8,(c.width/data.lanes.length-20)/6)),x(m[1])+6,y(m[0])+4);lastY[m[1]]=y(m[0])}}
$('where').textContent=(top0/1e6).toFixed(1)+' to '+((top0+span)/1e6).toFixed(1)+' ms'}
$('filter').oninput=e=>{words=e.target.value.toLowerCase();draw()};$('net').onchange=draw;onresize=draw;
$('view').onwheel=e=>{e.preventDefault();if(e.ctrlKey){const f=e.deltaY>0?1.3:1/1.3,at=top0+(e.offsetY-30)/(c.height-50)*span;span=Math.max(1e4,Math.min(end*1.1,span*f));top0=at-(e.offsetY-30)/(c.height-50)*span}else top0+=e.deltaY/c.height*span;draw()};
let drag=null;$('view').onmousedown=e=>drag=[e.clientY,top0];onmouseup=()=>drag=null;
$('view').onmousemove=e=>{if(drag){top0=drag[1]-(e.clientY-drag[0])/c.height*span;draw();return}
let best=null,d=10;for(let i=first(data.marks,top0);i<data.marks.length;i++){const m=data.marks[i];if(m[0]>top0+span)break;if(!shown(m))continue;const k=Math.hypot(x(m[1])-e.offsetX,y(m[0])-e.offsetY);if(k<d){d=k;best=m}}
tip.style.display=best?'block':'none';if(best){tip.textContent=(best[0]/1e6).toFixed(6)+' ms  '+data.lanes[best[1]]+'\n'+best[2];tip.style.left=Math.min(e.offsetX+12,c.width-300)+'px';tip.style.top=e.offsetY+12+'px'}};
draw();</script>
)";

}  // namespace

std::uint32_t TracePage::lane_number(std::string_view lane) {
  const auto at = std::find(lanes_.begin(), lanes_.end(), lane);
  if (at != lanes_.end()) return static_cast<std::uint32_t>(at - lanes_.begin());
  lanes_.emplace_back(lane);
  return static_cast<std::uint32_t>(lanes_.size() - 1);
}

void TracePage::line(Time at, std::string_view lane, std::string_view text) {
  marks_.push_back({at, lane_number(lane), std::string(text)});
}

void TracePage::message(MachineId from, MachineId to, Time sent, Time arrived, std::size_t bytes) {
  messages_.push_back({from, to, sent, arrived, bytes});
}

std::string TracePage::html(const std::string& title, const Report& report) const {
  nlohmann::json data;
  data["title"] = title;
  data["result"] = std::string(to_string(report.outcome)) + (report.what.empty() ? "" : ": " + report.what);
  data["lanes"] = lanes_;
  auto& marks = data["marks"] = nlohmann::json::array();
  for (std::size_t i = marks_.size() > most_marks ? marks_.size() - most_marks : 0; i < marks_.size(); ++i)
    marks.push_back({marks_[i].at, marks_[i].lane, marks_[i].text});
  const Time from = marks.empty() ? 0 : marks[0][0].get<Time>();
  // Machines are numbered nodes first, then guests, then the operator: find each one's lane by its name.
  std::vector<std::uint32_t> nodes;
  std::vector<std::uint32_t> guests;
  std::vector<std::uint32_t> others;
  for (std::uint32_t i = 0; i < 64; ++i) {
    const auto lane = [&](const std::string& name) {
      return std::find(lanes_.begin(), lanes_.end(), name) - lanes_.begin();
    };
    if (const auto at = lane("node" + std::to_string(i)); at < static_cast<std::ptrdiff_t>(lanes_.size()))
      nodes.push_back(static_cast<std::uint32_t>(at));
    if (const auto at = lane("guest" + std::to_string(i)); at < static_cast<std::ptrdiff_t>(lanes_.size()))
      guests.push_back(static_cast<std::uint32_t>(at));
  }
  nodes.insert(nodes.end(), guests.begin(), guests.end());
  auto& messages = data["messages"] = nlohmann::json::array();
  std::vector<std::pair<Time, std::size_t>> order;  // of those that are shown: by when they were sent, then as told
  for (std::size_t i = 0; i < messages_.size(); ++i)
    if (messages_[i].sent >= from && messages_[i].from < nodes.size() && messages_[i].to < nodes.size())
      order.emplace_back(messages_[i].sent, i);
  std::ranges::sort(order);
  for (const auto& [sent, i] : order) {
    const Message& m = messages_[i];
    messages.push_back({m.sent, m.arrived, nodes[m.from], nodes[m.to], m.bytes});
  }
  std::string json = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (std::size_t at = 0; (at = json.find("</", at)) != std::string::npos; at += 3) json.replace(at, 2, "<\\/");
  return page_head + json + page_script;
}

}  // namespace sd::sim
