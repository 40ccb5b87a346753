"""The words of video titles: what is said of quality and service, of covers, of shows and of collections."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from musicq_async.media.names.characters import CJK
from musicq_async.media.names.memory import remembered
from musicq_async.media.names.shipped import simplified

_LETTER: Final = re.compile(r"[^\W\d_]")
_CAPITALS: Final = re.compile(r"\\.|[A-Z]")
KEPT: Final = 512
"""Answers that each pattern remembers."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Where words stand in a text, and how they are written there."""

    start: int
    end: int
    text: str


class Words:
    """A pattern of words that finds them in simplified and traditional characters alike, compiled when first used.

    The rules of a title ask the same of the same text many times: answers are remembered.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.search: Callable[[str], Hit | None] = lru_cache(maxsize=KEPT)(self._search)
        self.finditer: Callable[[str], tuple[Hit, ...]] = lru_cache(maxsize=KEPT)(self._finditer)

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern in simplified and small characters, as `_plain` makes the texts: quicker than IGNORECASE."""
        small = _CAPITALS.sub(lambda found: found[0] if found[0][0] == "\\" else found[0].lower(), self.pattern)
        return re.compile(simplified(small))

    def _search(self, text: str) -> Hit | None:
        """Find the first place."""
        return _hit(self.compiled.search(_plain(text)), text)

    def match(self, text: str) -> Hit | None:
        """Find the words at the front."""
        return _hit(self.compiled.match(_plain(text)), text)

    def fullmatch(self, text: str) -> Hit | None:
        """Find the words if they are all there is."""
        return _hit(self.compiled.fullmatch(_plain(text)), text)

    def _finditer(self, text: str) -> tuple[Hit, ...]:
        """Find every place."""
        found = self.compiled.finditer(_plain(text))
        return tuple([Hit(match.start(), match.end(), text[match.start() : match.end()]) for match in found])

    def last(self, text: str) -> Hit | None:
        """Find the last place."""
        found = self.finditer(text)
        return found[-1] if found else None

    def without(self, text: str, gap: str = "") -> str:
        """Return the text without the words, ``gap`` in their places."""
        hits = self.finditer(text)
        if not hits:
            return text
        kept, end = [], 0
        for hit in hits:
            kept.append(text[end : hit.start])
            end = hit.end
        return gap.join((*kept, text[end:]))


@remembered
def _plain(text: str) -> str:
    """Return the text in simplified and small characters, as long as it was."""
    small = text.lower()
    return simplified(small if len(small) == len(text) else "".join(sign.lower()[0] for sign in text))


def _hit(match: re.Match[str] | None, text: str) -> Hit | None:
    return None if match is None else Hit(match.start(), match.end(), text[match.start() : match.end()])


_NOISE_HAN: Final = (
    "无损音质 無損音質 无损 無損 母带级 母带 臻品 音质 音質 品质 品質 高音质 高解析 超清 高清 蓝光 藍光 修复版 修复 "
    "修復 画质 畫質 收藏级 收藏 珍藏版 珍藏 官方 完整版 完整 全曲 字幕组 字幕 双语 雙語 中字 中英 中日 "
    "中韩 英中 日中 "
    "双字 歌词版 歌词 歌詞 动态歌词 滚动歌词 罗马音 假名 注音 翻译 单曲循环 單曲循環 无限循环 循环向 循环播放 "
    "循环 循環 全网首发 全站首发 首发 首發 首播 首公开 自制 自製 转载 轉載 搬运 搬運 补档 補檔 助眠 催眠 "
    "经典对唱 推荐 推薦 安利 "
    "纯享版 纯享 純享 自用 耳机 耳機 戴上 请戴 佩戴 戴好 立体声 环绕 環繞 杜比 全景声 全景聲 录音棚 百万级 "
    "百萬級 百万 豪装 豪華 豪华 千万级 设备 设备试听 试听 大声听 大声 听歌 试音 装备 装備 音响 发烧 级别 "
    "帧 高帧率 "
    "每日一歌 每日 今日 日推 私藏 宝藏歌曲 宝藏 小众 冷门 热门 热歌 抖音 快手 网红 爆款 爆火 火爆 超火 "
    "神曲 金曲 老歌 怀旧 经典 经典老歌 歌曲 好歌 好听的歌 音乐分享 音乐推荐 分享 单曲 單曲 新歌 新曲 新专 "
    "欧美 华语 華語 内地 港台 日系 韩系 流行 治愈 治癒 治愈向 致郁 伤感 催泪 泪目 高能 前方高能 燃向 超燃 "
    "神级 神級 震撼 绝美 惊艳 超好听 好听 超甜 甜歌 炸裂 王炸 电音 蹦迪 车载 深夜 睡前 emo "
    "授权转载 已授权 授权 正版 独家 最新 存档 备份 合集 系列 歌单 歌單 精选 精選 投稿 个人 练习 练歌 卡拉ok "
    "伴唱 卡点 混剪 剪辑版 剪辑 剪輯 手书 手書 动画 動畫 游戏 電影 电影 影视 "
    "音乐录影带 音樂錄影帶 官方版 超高清 现场版官方 视频 視頻 影片 版本 本家 公式 歌詞付き 歌詞付 字幕付き "
    "高音質 フル フルバージョン 映像 ミュージックビデオ 新曲 切り抜き 首本名曲 乐评 反应 reaction 预告 "
    "先行 "
    "古风 国风 民谣 摇滚 说唱 爵士 戏腔 纯人声 二次元 acg 直播 ホロライブ にじさんじ ぶいすぽ 個人勢 虚拟up "
    "术力口 ボカロ曲 ボカロ 虚拟歌手 虚拟主播 调教 中文填词 填词 词曲 首唱 新唱 纪念 周年 生日 生贺 告白 "
    "神还原 超还原 还原 舞台 直拍 打歌 回归 竖版 横版 投屏 全程 片段 cut 高潮 副歌 必听 必聽 入坑 开口跪 "
    "一起听 收听 聆听 "
    "ai 生贺曲 电台 节奏 氛围感 氛围 宅家 学习 专注 开车 手机铃声 铃声 钢琴谱 吉他谱 乐谱 谱子 附谱 教学 "
    "教程 可视化 波形 百听不厌 耳朵怀孕 天籁 天籁之音 洗脑 魔性 上头 强推 吐血推荐 白噪音 疗愈 绝绝子 "
    "简谱 翻跳 手势舞 宅舞 广场舞 舞蹈 手语舞 手语 手绘 素描 踩点 鬼畜 影像 录像 珍贵 "
    "听哭 不火天理难容 回忆杀 爷青回 泪崩 破防 "
    "华纳 索尼 滚石 环球 福茂 华研 相信音乐 杰威尔 英皇 海蝶 种子音乐 种子 添翼 "
    "mv付 pv付 付き 付 公开 公開 解禁 歌唱 大合唱"
)
_NOISE_LATIN: Final = (
    r"hi-?res(?: ?audio)?|flac|wav|dsd|ape|sq|hq|hd|uhd|fhd|8k|4k|2k|hdr|sdr|\d{3,4}[pi]\d{0,3}|\d{2,3} "
    r"?fps|\d+ ?k ?hz|\d+(?:\.\d+)? ?k ?hz|\d+ ?bits?|\d+ ?kbps|320k|dolby(?: ?atmos)?|atmos|dts|"
    r"official|lyrics?|videos?|audio|visuali[sz]er|music|mv|m/v|pv|amv|mad|mmd|vocaloid|utau|full(?: ver(?:sion)?\."
    r"?)?|teaser|trailer|clip|performance|dance ?practice|special|"
    r"eng|chn|kor|jpn?|cn|sub(?:title)?s?|subbed|cc|hifi|hi-?fi|asmr|repo|up|new|hot|best|loop|remaster(?:ed)? "
    r"4k|vlog|stage|mix by|out now|color coded|han|rom|bilibili|b站|hololive|nijisanji|vspo|vtuber|vup|"
    r"youtube|ytb|tiktok|sony(?: ?music)?|warner(?: ?music)?|universal|jvr(?: ?music)?|him|rock records|"
    r"1thek|smtown|hybe(?: labels)?|yg|jyp|avex|the first take|360r?a?|5\.1|24bit|ai"
)
_FILLER: Final = re.compile(
    r"[\W\d_]+|[的版首老旧新向级級中第与與和及+合全超最纯純附带帶含有无無在再更多款这這一个個年月日期号號上下高级感级天"
    r"次遍万]|(?<![a-z])(?:the|by|in|of|with|ver|version|and|x|a|p|k|no|vol|ed)(?![a-z])"
)
"""In simplified and small characters."""


def _alternatives(words: str) -> str:
    return "|".join(sorted(map(re.escape, set(words.split())), key=len, reverse=True))


def _openings(words: str) -> str:
    """Return the set of characters that words begin with: most places of a text are none, which it tells at once."""
    return f"[{''.join(sorted({word[0] for word in words.split()}))}]"


NOISE: Final = Words(
    rf"(?={_openings(_NOISE_HAN + '音 演')})(?:(?<!纯)音乐|演唱(?!会)|(?:{_alternatives(_NOISE_HAN)}))"
    rf"|(?<![A-Za-z0-9])(?=[A-Za-z0-9])(?:{_NOISE_LATIN})(?![A-Za-z])"
)
"""Words of quality and service: they say nothing of the song."""

_EDGE_HAN: Final = (
    "无损音质 无损 超清 高清 蓝光 高音质 高音質 完整版 官方完整版 官方完整 官方版 官方 中文字幕 中英字幕 "
    "中日字幕 双语字幕 中日双语 中英双语 中韩双语 双语 字幕 中字 歌词版 动态歌词 歌词 歌詞付き 单曲循环 纯享版 纯享 修复版 修复 音乐录影带 "
    "音樂錄影帶 "
    "フル 公式 首播 首发 转载 搬运 高清修复 画质修复 无损音乐 音质 试听 自制字幕 立体声 推荐 新歌 新曲 "
    "抖音 抖音热歌 热歌 完整音源 音源 原版"
)
_EDGE_LATIN: Final = (
    r"(?:the )?(?:official|full|lyrics?|music|performance|special|dance|audio|visual|mv|m/v|pv|hd|hq|4k|"
    r"8k|hi-?res|flac|color coded|karaoke)"
    r"(?:[\s-]+(?:official|full|lyrics?|music|performance|special|visual|video|videos|audio|clip|mv|m/v|"
    r"pv|hd|hq|4k|ver|version|practice|visuali[sz]er|film|teaser))*"
    r"|visuali[sz]er|fancam|直拍|\d{3,4}[pP]\d{0,3}|\d{2,3}fps|videos?|60帧|4k60帧"
)
EDGE_NOISE: Final = Words(
    rf"[\s\-–—|｜_,，·/／:：]*(?:(?:{_alternatives(_EDGE_HAN)}|(?<![A-Za-z0-9'’])(?:{_EDGE_LATIN})(?![A-Za-z0-9'’"
    rf"]))[\s!！。.]*)+\Z"
)
"""Phrases of quality and service that may be struck from the end of a plain text."""
HEAD_NOISE: Final = Words(
    r"\A(?:(?:\d{6}|\d{8}|MV|PV|4K|8K|Hi-?Res|FLAC|HD|1080P|OFFICIAL(?: MUSIC)? VIDEO|官方MV|官方|无损音质|无损|高音质|"
    r"高清|超清|完整版|单曲循环|纯享版|中文字幕|中日字幕|首播|新歌|首发|歌词版|自制)"
    r"(?![A-Za-z0-9])[\s\-–—|｜_:：·]*)+"
)
"""What ``EDGE_NOISE`` is for the end, for the front: only phrases that open no song."""


@remembered
def only_noise(text: str) -> bool:
    """Say whether nothing is left of the text without its words of quality and service."""
    rest = NOISE.without(text, " ")
    return not _FILLER.sub("", _plain(rest)) and (rest != text or _LETTER.search(text) is None)


@remembered
def without_noise(text: str) -> str:
    """Return the text without its words of quality and service and the signs around them."""
    return " ".join(NOISE.without(text, " ").split()).strip(" -–—|｜_/／,，·+&:：!！.。~～")


COVER: Final = Words(
    r"翻唱|翻自|歌ってみた|うたってみた|唄ってみた|カバー|カヴァー|커버|(?<![A-Za-z])cover(?:ed|s)?(?: "
    r"by)?(?![A-Za-z])"
)
OWN_WORK: Final = Words(
    r"原创(?:歌曲|曲目|音乐|单曲|曲|中文曲)?|原創(?:歌曲|曲)?|オリジナル(?:曲|ソング|MV|楽曲)?|(?<![A-Za-z])origi"
    r"nal(?: song| mv| music)?(?![A-Za-z])|自作曲|自创曲?|作品"
)
PLAYED: Final = Words(
    r"弾いてみた|叩いてみた|吹いてみた|演奏してみた|演奏|独奏|獨奏|指弹|指彈|翻奏|联弹|弹奏|彈奏|吹奏|solo|翻弹|扒谱"
)
SUNG_TO: Final = Words(r"吉他弹唱|钢琴弹唱|自弹自唱|弹唱|彈唱|弾き語り(?:してみた)?")
INSTRUMENTS: Final = Words(
    "(?:原声|民谣|古典|电|電|木|独|大|小)?(?:钢琴|鋼琴|吉他|古筝|古箏|二胡|琵琶|笛子|竹笛|箫|洞箫|提琴|"
    "尤克里里|口琴|萨克斯|薩克斯|卡林巴|拇指琴|手风琴|竖琴|竪琴|唢呐|嗩吶|箜篌|葫芦丝|陶笛|古琴|扬琴|架子鼓|"
    "贝斯|管弦乐|交响乐|交响|八音盒|"
    r"ピアノ|ギター|バイオリン|ヴァイオリン|ベース|ドラム|オルゴール|피아노|기타)|(?<![A-Za-z])(?:piano|"
    r"guitar|violin|cello|erhu|guzheng|ukulele|kalimba|sax(?:ophone)?|drums?|bass|flute|harp|music box)(?![A-Za-z"
    r"])"
)
TRADE: Final = Words(f"{INSTRUMENTS.pattern}|{OWN_WORK.pattern}")
"""Words that beside words of service alone, as in 钢琴手书, name nobody."""
LIVE: Final = Words(
    r"(?<![A-Za-z])live(?![A-Za-z])(?! (?:in|your|my|for|forever|again|a)(?![A-Za-z]))版?|现场版|现场|"
    r"現場|演唱会|演唱會|ライブ映像|ライブ|ライヴ|라이브|音乐会版|(?<![A-Za-z])unplugged(?![A-Za-z])"
)
COLLECTION: Final = Words(
    r"合集|歌单|歌單|精选|精選|盘点|盤點|串烧|串燒|全专辑|全專輯|整专|全碟|全集|大全|排行榜|榜单|(?:\d+|"
    r"[二两兩三四五六七八九十百千]+|[几幾多数])[余多]?[首支]|首歌曲?(?:串|合|连)|连播|连放|"
    r"メドレー|作業用|作业用|歌曲集|歌集|热歌榜|(?<![A-Za-z])(?:bgm|playlist|medley|top ?\d+|best of|full "
    r"album|compilation|greatest hits|mega ?mix)(?![A-Za-z])"
)
ALBUM: Final = Words(r"全专辑|全專輯|整专|全碟|专辑|專輯|full album|(?<![A-Za-z])album(?![A-Za-z])|アルバム")
MEDLEY: Final = Words(r"串烧|串燒|メドレー|medley|mash ?up|连唱|组曲")

SHOW: Final = Words(
    r"我是歌手|歌手\s*[·・:：]?\s*(?:20\d\d|当打之年)|\A歌手\Z|声生不息|聲生不息|天赐的声音|时光音乐会|"
    r"明日之子|春晚|春节联欢|中国(?:梦之)?好声音|好声音|好歌曲|新歌声|乘风(?:破浪)?|浪姐|披荆斩棘|乐队的夏天|"
    r"乐夏|蒙面(?:唱将|歌王)|"
    r"梦想的声音|经典咏流传|金曲捞|创造(?:营|101|20\d\d)|青春有你|偶像练习生|国家宝藏|快乐大本营|天天向上|"
    r"我们的歌|跨界歌王|中国有嘻哈|新说唱|说唱新世代|说唱听我的|超级女声|超级星光大道|快乐男声|快乐女声|"
    r"最美和声|同一首歌|有歌|为歌而赞|我想和你唱|嗨唱|百川可逗|音乐缘计划|大湾仔的夜|声入人心|"
    r"不朽的名曲|这!?！?就是|星光大道|音乐大师课|无限歌谣季|隐藏的歌手|复面歌王|请回答|康熙来了|王牌对王牌|"
    r"奔跑吧|极限挑战|向往的生活|朋友请听好|"
    r"跨年|颁奖|红白|紅白|(?<![A-Za-z])(?:the first take|music ?bank|m ?countdown|inkigayo|show champion|"
    r"the voice|got talent|mtv|tiny desk|cctv)(?![A-Za-z])"
)
GATHERING: Final = Words("晚会|盛典|典礼|歌会|音乐节|音乐会|演唱会|之夜")
"""Words of shows that songs can have in their titles too."""
WORK_BEFORE: Final = Words(
    r"(?:电影|電影|电视剧|電視劇|电视|连续剧|网剧|網劇|剧集|古装剧|韩剧|日剧|美剧|动画片?|動畫|动漫|番剧|"
    r"番劇|动画电影|新番|综艺|手游|手遊|网游|游戏|遊戲|音乐剧|音樂劇|舞台剧|纪录片|小说|广播剧|漫画|国漫|"
    r"专辑|專輯|"
    r"tvアニメ|アニメ映画|劇場版|アニメ|映画|ドラマ|ゲーム|ミュージカル|드라마|영화|애니|(?<![A-Za-z])(?:movie|"
    r"film|drama|anime|game|album|ost from|from))\s*[:：]?\s*\Z"
)
_THEME: Final = (
    r"(?:主题曲|主題曲|主题歌|主題歌|片头曲|片頭曲|片尾曲|片尾歌|片首曲|插曲|推广曲|推廣曲|宣传曲|宣傳曲|"
    r"印象曲|角色曲|角色歌|人物曲|同人曲|原声带|原声|原聲|配乐|配樂|主打歌|主题|終曲|终曲|开场曲|情感曲|"
    r"插入曲|挿入歌|劇中歌|剧中歌|テーマソング|テーマ曲|テーマ|主題|イメージソング|"
    r"オープニングテーマ曲?|エンディングテーマ曲?|オープニング|エンディング|サウンドトラック|주제가|삽입곡|"
    r"(?<![A-Za-z])(?:op|ed|ost|opening|ending|theme song|theme|soundtrack|insert song|bgm)\s*\d*(?![A-Za-z]))(?:"
    r"曲|歌)?"
)
WORK_AFTER: Final = Words(
    rf"\A\s*(?:(?:第?\s*[一二三四五六七八九十\d]+\s*[季期部部分クール]+|中国区|中国大陆|中文|日文|英文|"
    rf"国语|粤语|动画剧集|动画|動畫|剧场版|劇場版|电影版?|电视剧版?|网剧|剧版|TV版?|官方|遊郭編|篇|编|"
    rf"(?:op|ed)(?=\s*(?:主|テーマ))|編|片|游戏|手游|の|的|年度|全新|全球|[一-龥ぁ-んァ-ヶ]{{1,6}}[編篇期季]|season\s*\d+)\s*){{0,4}}{_THEME}"
)
THEME: Final = Words(_THEME)

WEAK_NAME: Final = Words(
    r"[你我他她它的了给是在这那谁吧吗想没爱]|[をはがにへ]|(?<![A-Za-z])(?:you|me|my|your|i'm|i|we|us|it|"
    r"is|are|was|don't|can't|won't|never|gonna|love|baby|this|that|to|up|down)(?![A-Za-z])"
)
"""Words that titles have far more often than names do."""
SENTENCE: Final = Words(
    r"[了吗嗎呢吧啊呀哦]|一开口|开口就|好听|遇上|遇见了|居然|竟然|原来|終於|终于|忍不住|惊艳|全场|瞬间|"
    r"这首|這首|那首|首歌|这才|这个|这是|这么|什么|怎么|为什么|如何|有多|第一次|被.{1,6}[到了哭]|把.{1,6}[成了得]|"
    r"让.{1,4}[都我你人]|"
    r"我[们的在要想]|你[们的在要想听]|他[们的在]|她[们的在]|听完|听到|听过|听[着说]|唱[得完到]|哭|泪|破防|"
    r"泪目|跪了|好[看美甜]|真的|简直|超级|太[好美绝燃甜]|值得|必须|也太|还是|不愧|永远的|当你|当我|如果|"
    r"多少人|所有人|每个人|没有人|谁懂|直接|简单|感觉|时候|一听|听众|听哭|循环"
)
EDGE_SENTENCE: Final = Words(
    r"\A(?:当|用|听|把|让|被|是|了|在|为|请|求|给|和|与|从|又|再|都|就|这|那|一首|一曲|经典的?|回忆|每|"
    r"谁|原|前|后|我的?|你的?|一个人)\Z|\A(?:当|用|把|让|被|听|一首|一曲|一支|如果|致敬|求|愿|请|给|为|祝[大你我福]|[献送写唱]给|全网|"
    r"这[首是个]|那[首是个年])|(?:是|了|被|把|让|用|听|在|当|唱|的歌|一首|一曲|之)\Z"
)
ANYONE: Final = Words(
    r"\A(?:[男女]声|[男女]生|[男女]孩|[男女]神|小姐姐|小哥哥|小哥|小姐|大叔|大爷|大妈|奶奶|爷爷|学生|大学生|"
    r"高中生|初中生|小学生|学长|学姐|学弟|学妹|网友|素人|路人|老外|外国人|外国小哥|日本人|中国人|韩国人|"
    r"妹子|妹妹|姐姐|哥哥|弟弟|up主?|本人|我|自己|全员|[百千万]人|多人|童声|戏腔|老师|朋友|室友|闺蜜|情侣|夫妻|父女|"
    r"母女|父子|母子|全家|粉丝|歌手|歌迷|乐队|全场|现场|观众|大合唱|合唱团?|合唱|独唱|女歌手|男歌手|街头艺人|"
    r"街头|驻唱|清唱|试唱|深情|温柔|烟嗓|低音炮?|萝莉|御姐|少年音?|少女音?|双声道|御姐音|正太|单人|双人|"
    r"双语|国语|粤语|日语|中文|英文|方言|川话|纯人声|人声|女版|男版|女声版|男声版|原版|原唱|翻唱|童声版|"
    r"首页|全曲|本家|[降升原]调|阿卡贝拉|和声|改编|群像|四手联弹)+\Z"
)
OCCASION: Final = Words(
    "(?:今天|昨天|明天|今晚|加油|快乐|我最|晚安|早安|回忆|青春|毕业季|纪念日|也[会要想能]|出来|磁带|唱片|黑胶|卡带)"
    "(?!.*(?:乐队|乐团|组合))"
)
"""What is said on an occasion, or of what was recorded; a band may be called so if it says that it is one."""
ROLE_BEFORE: Final = Words(
    r"\A(?:(?:著名|当红|实力|华语|香港|台湾|内地|日本|韩国|美国|中国|新加坡|马来西亚|欧美|知名|顶级|创作|"
    r"天才|摇滚|民谣|说唱|流行|网络|抖音|音乐|国民|国宝级?|传奇|全能|唱作|虚拟)*(?:歌手|唱将|歌神|歌王|"
    r"歌后|天后|天王|女王|乐队|组合|偶像|女团|男团|唱作人|音乐人|唱见|女歌手|男歌手|歌姬|演员|vtuber|vup|"
    r"up主|唱跳)+(?:[:：\s]*))(?=.)"
)
ROLE_AFTER: Final = Words(
    r"(?:\s*(?:的|现场|深情|倾情|温柔|激情|首次|再次|重新|全新|清唱|演唱(?!会)|献唱|高唱|大?合唱|独唱|对唱|"
    r"弹唱|自弹自唱|领唱|首唱|演绎|再现|唱|演奏|弹奏|吹奏|独奏|表演|带来|新歌|新单|新曲|新专辑?|单曲|神曲|"
    r"金曲|成名曲|代表作|经典|名曲|名场面|歌曲|老歌|首发|正式版|最新|热单|热门|大热|原创|作品|超燃|炸裂|"
    r"高音|封神|神级|版本|版|ver|封神之作|神作|成名作|出道曲|主打歌?|先行曲?|冠军单曲|冠单|必听|最火|人气曲|"
    r"回归曲|音乐|现场版|超清|高清|官方|首支单曲|MV|PV|official|专场|舞台|名作|联手|携手|合作|首本名曲|"
    r"情歌|励志|热播|4K|HD|LIVE))+[\s:：,，]*\Z"
)
PERSON_TO_PERSON: Final = Words(
    r"(?:深情|现场|重新|再次|完美|神级|倾情|用心|温柔|挑战|用.{1,4})*(?:翻唱|翻弹|改编|致敬|模仿|挑战|"
    r"演绎|演唱(?!会)|弹唱|弹奏|演奏|献唱|重唱|唱起|(?<![合独对清领])唱(?![片跳作会]))(?:了|的是|一首|一曲|前辈|经典)*"
)
SEPARATORS: Final = re.compile(
    rf"\s*[/／、＆&×✕✖＋,，]\s*|\s+[xX+]\s+|(?<=[{CJK}])[xX+](?=[{CJK}])|\s*(?<![A-Za-z])(?:feat|ft|featuring|"
    rf"with|vs)(?:[.．]\s*|\s+)|\s+(?:and|with|vs)\s+",
    re.IGNORECASE,
)
FEATURING: Final = re.compile(r"\s*(?<![A-Za-z])(?:feat|ft)(?:[.．]\s*|\s+)|\s+featuring\s+", re.IGNORECASE)
