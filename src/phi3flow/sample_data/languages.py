"""The sentences of the customers who do not write English; few facts, so that a small model can learn them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForeignAttribute:
    """Questions by split and one answer in another language; ``unit`` follows the number of the English value."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    answer: str
    unit: str


LANGUAGES: dict[str, dict[str, ForeignAttribute]] = {
    "de": {
        "battery_life": ForeignAttribute(
            train=(
                "Wie lange hält der Akku von {p}?",
                "Wie viele Stunden läuft {p} mit einer Ladung?",
                "Hallo, wie ist die Akkulaufzeit von {p}?",
            ),
            validation=("Welche Akkulaufzeit hat {p}?",),
            test=("Wie viele Stunden hält der Akku bei {p}?", "Guten Tag, wie lange läuft der Akku von {p}?"),
            answer="Der Akku von {p} hält {v}.",
            unit=" Stunden",
        ),
        "charging_time": ForeignAttribute(
            train=(
                "Wie lange muss {p} laden?",
                "Nach wie vielen Minuten ist {p} voll geladen?",
                "Wie lang ist die Ladezeit von {p}?",
            ),
            validation=("Welche Ladezeit hat {p}?",),
            test=("Wie viele Minuten muss {p} laden?", "Wie lange dauert die Ladezeit von {p}?"),
            answer="{p} ist nach {v} voll geladen.",
            unit=" Minuten",
        ),
    },
    "es": {
        "battery_life": ForeignAttribute(
            train=(
                "¿Cuánto dura la batería de {p}?",
                "¿Cuántas horas funciona {p} con una carga?",
                "Hola, ¿qué autonomía tiene la batería de {p}?",
            ),
            validation=("¿Qué duración tiene la batería de {p}?",),
            test=("¿Cuántas horas dura la batería de {p}?", "Buenos días, ¿cuánto dura {p} con una carga?"),
            answer="La batería de {p} dura {v}.",
            unit=" horas",
        ),
        "warranty": ForeignAttribute(
            train=(
                "¿Qué garantía tiene {p}?",
                "¿Cuántos meses de garantía hay para {p}?",
                "Mi {p} no funciona. ¿Cuánto dura la garantía?",
            ),
            validation=("¿De cuántos meses es la garantía de {p}?",),
            test=("¿Cuántos meses dura la garantía de {p}?", "Hola, ¿qué garantía hay para {p}?"),
            answer="La garantía de {p} es de {v}.",
            unit=" meses",
        ),
    },
    "ko": {
        "charging_time": ForeignAttribute(
            train=(
                "{p} 충전 시간은 얼마나 걸리나요?",
                "{p} 완전히 충전하려면 몇 분 걸려요?",
                "안녕하세요, {p} 충전 시간이 궁금합니다.",
            ),
            validation=("{p} 충전에 얼마나 걸립니까?",),
            test=("{p} 충전하는 데 몇 분 걸리나요?", "{p} 충전 시간을 알려 주세요."),
            answer="{p} 충전 시간은 {v}입니다.",
            unit="분",
        ),
        "warranty": ForeignAttribute(
            train=(
                "{p} 보증 기간은 얼마나 되나요?",
                "{p} 보증은 몇 개월인가요?",
                "안녕하세요, {p} 보증 기간이 궁금합니다.",
            ),
            validation=("{p} 보증이 몇 개월입니까?",),
            test=("{p} 보증 기간은 몇 개월인가요?", "{p} 보증 기간을 알려 주세요."),
            answer="{p} 보증 기간은 {v}입니다.",
            unit="개월",
        ),
    },
    "zh": {
        "battery_life": ForeignAttribute(
            train=(
                "{p} 的电池能用多久？",
                "{p} 充满电可以用几个小时？",
                "你好，请问 {p} 的续航时间是多少？",
            ),
            validation=("请问 {p} 的电池续航多久？",),
            test=("{p} 的电池可以用几个小时？", "你好，{p} 充满电能用多久？"),
            answer="{p} 充满电可以使用 {v}。",
            unit="小时",
        ),
        "warranty": ForeignAttribute(
            train=(
                "{p} 的保修期是多久？",
                "{p} 保修几个月？",
                "你好，请问 {p} 的保修期有多长？",
            ),
            validation=("请问 {p} 的保修期是几个月？",),
            test=("{p} 的保修期有几个月？", "你好，{p} 保修多久？"),
            answer="{p} 的保修期是 {v}。",
            unit="个月",
        ),
    },
}
